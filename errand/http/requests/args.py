"""Reads the args of a job from a request, and says what is wrong with them without showing secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from errand.http.requests import json_body
from errand.http.requests.idempotency import KeyedRequest, reused
from errand.http.shared import Shared, in_time, shared_of
from errand.job.args_context import ArgsContext, LaterCheck
from errand.job.args_names import Path, unknown_in, unknown_names
from errand.job.job_type import JobType
from errand.queue.idempotency import KeyReused
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
    args = checked(job_type, json_body.value_in(body, field="body"), context=context)
    if context.later and not (keyed is not None and await _was_answered(request, job_type, keyed)):
        await check_later(shared_of(request), context)
    return args


async def check_later(to: Shared, context: ArgsContext, *path: str | int) -> None:
    """Makes the checks that the validators left for later. Raises RequestValidationError."""
    while context.later:
        later = context.later.pop(0)
        if later.about not in context.faults:
            context.faults[later.about] = await _fault(to, later)
        if message := context.faults[later.about]:
            raise RequestValidationError([{"type": "value_error", "loc": ("body", *path, later.field), "msg": message}])


async def _fault(to: Shared, later: LaterCheck) -> str:
    try:
        await in_time(later.check(to.redis))
    except ValueError as error:
        return str(error)
    return ""


async def _was_answered(request: Request, job_type: JobType[Any, Any], keyed: KeyedRequest) -> bool:
    """True if a request under that key has put its job, which is answered again. Raises Problem 422 for another one."""
    try:
        return await shared_of(request).queue_of(job_type).first_answer(keyed.idempotency()) is not None
    except KeyReused:
        raise reused() from None


def checked(job_type: JobType[Any, Any], raw: Any, *path: str | int, context: ArgsContext | None = None) -> KeptArgs:
    """The args in a JSON value that stands at that path of the request's body; their validators are given `context`.

    Raises RequestValidationError, each fault with its path: also for the stars that views show instead of a secret; a
    client that sends back what it was shown has not meant them.
    """
    model: type[BaseModel] = job_type.args_model
    try:
        args = model.model_validate(raw, context=context)
    except ValidationError as error:
        faults = json_body.faults_of(error, *path, hide=job_type.hider(raw))
        unknown: dict[Path, str] = {(name,): message for name, message in unknown_in(model, raw).items()}
        raise RequestValidationError([*faults, *_unknown_args(unknown, path)]) from None
    if names := unknown_names(args, raw):
        raise RequestValidationError(_unknown_args(names, path))
    if secret_args.has_stars(model, raw):
        message = f"has '{STARS}' instead of a secret: views show that instead of it, send the secret itself"
        raise RequestValidationError([{"type": "masked", "loc": ("body", *path), "msg": message}])
    try:
        return secret_args.kept(args)
    except ValueError as error:
        raise RequestValidationError([{"type": "secret", "loc": ("body", *path), "msg": str(error)}]) from None


def _unknown_args(names: Mapping[Path, str], path: Path) -> list[dict[str, Any]]:
    return [{"type": "unknown_arg", "loc": ("body", *path, *name), "msg": message} for name, message in names.items()]
