"""Reads the args of a job from a request, and says what is wrong with them without showing secrets."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from errand.http.requests import json_body
from errand.http.requests.idempotency import KeyedRequest
from errand.job.args_context import ArgsContext
from errand.job.args_names import unknown_below, unknown_in
from errand.job.job_type import JobType
from errand.secrets import secret_args
from errand.secrets.redaction import STARS

KeptArgs = dict[str, Any]
"""Args as the queue keeps them: JSON values without defaults, secrets included."""


async def read(request: Request, job_type: JobType[Any, Any], keyed: KeyedRequest | None) -> KeptArgs:
    """The args in a JSON body; the body becomes a part of the request under its key.

    Raises Problem 422 for a body that is not JSON, RequestValidationError for args that do not fit.
    """
    json_body.check_media_type(request)
    body = await request.body()
    if keyed is not None:
        keyed.take("body", body)
    context = ArgsContext(settings=request.app.state.settings)
    return checked(job_type, json_body.value_in(body, field="body"), context=context)


def checked(job_type: JobType[Any, Any], raw: Any, *path: str | int, context: ArgsContext | None = None) -> KeptArgs:
    """The args in a JSON value that stands at that path of the request's body; their validators are given `context`.

    Raises RequestValidationError, each fault with its path: also for the stars that views show instead of a secret; a
    client that sends back what it was shown has not meant them.
    """
    model: type[BaseModel] = job_type.args_model
    faults = [
        {"type": "unknown_arg", "loc": ("body", *path, name), "msg": message}
        for name, message in unknown_in(model, raw).items()
    ]
    try:
        args = model.model_validate(raw, context=context)
        faults += [
            {"type": "unknown_arg", "loc": ("body", *path, *below), "msg": message}
            for below, message in unknown_below(args, raw).items()
        ]
    except ValidationError as error:
        faults = [*json_body.faults_of(error, *path, hide=job_type.hider(raw)), *faults]
    if faults:
        raise RequestValidationError(faults)
    if secret_args.has_stars(model, raw):
        message = f"has '{STARS}' instead of a secret: views show that instead of it, send the secret itself"
        raise RequestValidationError([{"type": "masked", "loc": ("body", *path), "msg": message}])
    try:
        return secret_args.kept(args)
    except ValueError as error:
        raise RequestValidationError([{"type": "secret", "loc": ("body", *path), "msg": str(error)}]) from None
