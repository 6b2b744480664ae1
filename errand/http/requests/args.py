"""Checks the args of a job as a client sends them, and says what is wrong with them without showing secrets."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from errand.http.requests import json_body
from errand.job.args_context import ArgsContext
from errand.job.job_type import JobType
from errand.secrets import secret_args
from errand.secrets.redaction import STARS


def checked_args(
    job_type: JobType[Any, Any], raw: Any, *place: str | int, context: ArgsContext | None = None
) -> BaseModel:
    """The args; `place` is where they stand in the request's body, `context` what their validators may know of it.

    Raises RequestValidationError, each fault with its place: also for the stars that a view shows in the place of a
    secret, which who sends back what he was shown has not meant.
    """
    try:
        args: BaseModel = job_type.args_model.model_validate(raw, context=context)
    except ValidationError as error:
        raise RequestValidationError(json_body.faults_of(error, *place, hide=job_type.hider(raw))) from None
    if secret_args.has_stars(job_type.args_model, raw):
        message = f"has '{STARS}' in the place of a secret: views show that instead of it, send the secret itself"
        raise RequestValidationError([{"type": "masked", "loc": ("body", *place), "msg": message}])
    return args
