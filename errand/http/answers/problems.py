"""Answers every error as problem details (RFC 9457), in a sentence that says what to do.

A problem's `type`, such as `/problems/unknown-job`, is a name: it stays the same wherever the API is mounted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from errand.http.answers import suggestions
from errand.http.scope import api_path, root_path
from errand.queue.new_job import QueueFull
from errand.redis.outage import REDIS_RETRY_S, is_outage
from errand.resources.storage import StorageFault

log = structlog.get_logger("errand.http")


MEDIA_TYPE = "application/problem+json"


TOO_LARGE = "content-too-large"
"""The kind of every 413, named as in RFC 9110; Python's name changed with 3.13."""


FULL_RETRY_S = 5


STORAGE_RETRY_S = 10
"""A disk that is full or read-only stays so until somebody comes."""


MAX_NAME_CHARS = 200
"""Of a name in a request, as it is shown in an answer."""


MAX_FAULTS = 100
"""So many faults are said of one value. More help nobody, and to say 100,000 unknown names takes seconds."""


OUTAGE_OVER_S = 60.0
"""If no request was refused for so long, the next refused one belongs to another outage."""


class FaultyField(BaseModel):
    """One fault of a request."""

    field: str = Field(
        description="which part of the request has the fault: `body.to`, `query.delay`", examples=["body.to"]
    )
    message: str


class ProblemDetails(BaseModel):
    """The body of an error answer (RFC 9457)."""

    type: str = Field(description="names the kind of problem; stable", examples=["/problems/unknown-job"])
    title: str
    status: int
    detail: str
    errors: list[FaultyField] | None = Field(None, description="for a validation problem: each field")


class Problem(Exception):
    """Ends a request with that problem. `kind` is its stable name in words with hyphens."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FaultyField] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers
        self.errors = errors


class BodyTooLarge(HTTPException):
    """413. It is an HTTPException, because FastAPI turns any other error while it reads a body into a 400."""

    def __init__(self, limit_bytes: int) -> None:
        detail = f"The body is larger than {limit_bytes} bytes. Send less, or raise the limit."
        # the rest of the body is not read: the connection ends with the answer
        super().__init__(413, detail, headers={"Connection": "close"})


def response(problem: Problem) -> JSONResponse:
    """The answer to a request that ends with this problem."""
    details = ProblemDetails(
        type=f"/problems/{problem.kind}",
        title=problem.kind.replace("-", " ").capitalize(),
        status=problem.status,
        detail=problem.detail,
        errors=list(problem.errors) or None,
    )
    return JSONResponse(
        details.model_dump(exclude_none=True),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(problem.headers or {}),
    )


def documented(descriptions: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Describes a route's error answers for the OpenAPI document, by status.

    With a `model`, FastAPI would document them as `application/json`.
    """
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}}}
    return {status: {"description": description, "content": content} for status, description in descriptions.items()}


def install(app: FastAPI) -> None:
    """Has the app answer with problem details to everything that goes wrong in a request."""
    refusals = Refusals()

    @app.exception_handler(Problem)
    async def on_problem(_: Request, problem: Problem) -> JSONResponse:
        return response(problem)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
        return response(_of_http_exception(request, error))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return response(_of_invalid(error))

    @app.exception_handler(RedisError)
    async def on_redis_error(_: Request, error: RedisError) -> JSONResponse:
        if not is_outage(error):
            raise error
        refusals.note(error)
        return response(redis_away(error))

    @app.exception_handler(StorageFault)
    async def on_storage_fault(_: Request, fault: StorageFault) -> JSONResponse:
        log.error("the storage of files failed: see STORAGE_URL", error=str(fault))
        return response(storage_away())

    @app.exception_handler(QueueFull)
    async def on_queue_full(_: Request, error: QueueFull) -> JSONResponse:
        return response(queue_full(error.queue))

    @app.exception_handler(ClientDisconnect)
    async def on_hang_up(_: Request, error: ClientDisconnect) -> JSONResponse:
        # nobody reads it; it only keeps a client's hanging up from being logged as a fault of the service
        return response(Problem(400, "bad-request", "The connection ended before the request did."))

    @app.exception_handler(Exception)
    async def on_fault(_: Request, error: Exception) -> JSONResponse:
        # starlette logs and re-raises what comes here: the client gets a problem, the log the traceback
        return response(Problem(500, "internal-error", "The service failed on this request. Its log says why."))


async def answer_to(error: Exception, request: Request) -> tuple[Response, Exception | None]:
    """The app's answer to an error of its route, by the handler that Starlette would choose; and a fault of ours.

    Starlette raises a fault of the service again when it is answered, for the server to log it; so must the caller.
    """
    handlers = request.app.exception_handlers
    for kind in type(error).__mro__[:-3]:  # without Exception, BaseException, object
        if kind in handlers:
            try:
                return await handlers[kind](request, error), None
            except Exception as fault:  # noqa: BLE001  # a handler lets through what it does not answer
                error = fault
                break
    return await handlers[Exception](request, error), error


def redis_away(error: RedisError) -> Problem:
    """503: nothing was promised, and the same request may succeed soon.

    Not "nothing was put": a call that Redis was too slow to answer may lie in its socket, and be done later.
    """
    match error:
        case OutOfMemoryError():
            what = "Redis is out of memory, so nothing was promised."
        case TimeoutError():
            what = "Redis did not answer in time, so it is not known whether the request had an effect."
        case ResponseError():
            what = "Redis refuses it for now, so nothing was promised."
        case _:
            what = "Redis cannot be reached, so nothing was promised."
    detail = f"{what} Try again in {REDIS_RETRY_S} seconds."
    return Problem(503, "redis-unavailable", detail, headers={"Retry-After": str(REDIS_RETRY_S)})


def queue_full(queue: str) -> Problem:
    """503: nothing was accepted; there is room again when jobs have ended."""
    detail = (
        f"The queue '{queue}' holds as many unfinished jobs as QUEUE_LIMIT allows, so nothing was accepted. "
        f"Try again in {FULL_RETRY_S} seconds."
    )
    return Problem(503, "queue-full", detail, headers={"Retry-After": str(FULL_RETRY_S)})


def storage_away() -> Problem:
    """503: nothing was promised, and the same request succeeds once the storage can be read or written again."""
    detail = f"The storage of files is away, or full: nothing was promised. Try again in {STORAGE_RETRY_S} seconds."
    return Problem(503, "storage-unavailable", detail, headers={"Retry-After": str(STORAGE_RETRY_S)})


class Refusals:
    """Logs once per outage that requests are refused: a probe asks every few seconds."""

    def __init__(self) -> None:
        self._last_s = -math.inf

    def note(self, error: RedisError) -> None:
        """Notes a refused request; the first one in a while starts an outage."""
        now_s = time.monotonic()
        if now_s - self._last_s > OUTAGE_OVER_S:
            log.warning("redis is away: requests that need it are answered 503", error=str(error))
        self._last_s = now_s


def _of_http_exception(request: Request, error: HTTPException) -> Problem:
    if error.status_code == 404:
        return _nothing_there(request)
    if error.status_code == 400 and isinstance(error.__cause__, UnicodeDecodeError):
        # FastAPI's own message is no sentence and says nothing about the text
        fault = FaultyField(field="body", message="is not valid JSON: it must be text in UTF-8")
        return Problem(422, "invalid-request", f"The request does not fit: body: {fault.message}", errors=[fault])
    if error.status_code == 405:
        return _not_possible_there(request, error)
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-") if error.status_code != 413 else TOO_LARGE
    return Problem(error.status_code, kind, str(error.detail), headers=error.headers)


def _nothing_there(request: Request) -> Problem:
    root, path = root_path(request.scope), api_path(request.scope)
    near = suggestions.near(request.app.openapi()["paths"], path, root_path=root)
    hint = f" There is {' or '.join(near)}." if near else ""
    return Problem(404, "not-found", f"There is nothing at {root}{path}.{hint} The API is described at {root}/docs.")


def _not_possible_there(request: Request, error: HTTPException) -> Problem:
    """Starlette's Allow names the methods of one route; RFC 9110 §15.5.6 asks for all methods of the path."""
    root, path = root_path(request.scope), api_path(request.scope)
    methods = suggestions.methods_at(request.app.openapi()["paths"], path)
    headers = {"Allow": ", ".join(methods)} if methods else error.headers
    hint = f" {' or '.join(methods)} is." if methods else ""
    detail = f"{request.method} is not possible at {root}{path}.{hint} The API is described at {root}/docs."
    return Problem(405, "method-not-allowed", detail, headers=headers)


def _of_invalid(error: RequestValidationError) -> Problem:
    errors = error.errors()
    if len(errors) > MAX_FAULTS:
        errors = [{"type": "many", "loc": ("body",), "msg": f"does not fit in more than {MAX_FAULTS} places"}]
    faults = [_faulty_field(fault) for fault in errors]
    detail = "The request does not fit: " + "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
    return Problem(422, "invalid-request", detail, errors=faults)


def _faulty_field(fault: Mapping[str, Any]) -> FaultyField:
    if fault["type"] == "json_invalid":
        return FaultyField(
            field="body", message=f"is not valid JSON: {fault.get('ctx', {}).get('error', fault['msg'])}"
        )
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "url_parsing":
        message = "must be a whole URL, such as https://receiver.example/hook"
    if fault["loc"] == ("body",) and fault["type"] in ("missing", "model_type", "model_attributes_type"):
        # it may be JSON, but sent as a web form, as curl does by default
        message = "must be a JSON object, sent with 'Content-Type: application/json'"
    # a part of it may be a name that the client has made up
    field = ".".join(str(part)[:MAX_NAME_CHARS] for part in fault["loc"])
    return FaultyField(field=field, message=message)


ERRORS = documented(
    {
        401: "no key, or a wrong one",
        403: "the key lacks the scope",
        413: "the body is too large",
        422: "the request does not fit; each faulty field is named",
        429: "too many requests for `RATE_LIMIT`, or refused credentials for `REFUSAL_LIMIT`; `Retry-After` says when "
        "to come back",
        503: "Redis cannot be reached, or the queue is full; nothing was promised",
    }
)


KEY_ERRORS = documented(
    {
        400: "the `Idempotency-Key` is malformed",
        409: "another job holds the `unique_key`, or a request under the `Idempotency-Key` is still coming in",
    }
)
