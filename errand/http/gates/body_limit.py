"""Refuses bodies over the limit before they fill the memory or the disk."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errand.http.answers import problems
from errand.http.scope import announced_bytes, api_path, header

MULTIPART_OVERHEAD_BYTES = 64 * 1024
"""What boundaries, part headers and the `args` part may add to an upload."""


class BodyLimit:
    """ASGI middleware: `limit_of(path, content_type)` gives the most bytes a body may have."""

    def __init__(self, app: ASGIApp, *, limit_of: Callable[[str, str], int]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # the first of several, as all that reads the body takes it
        limit_bytes = self._limit_of(api_path(scope), header(scope, b"content-type"))
        announced = announced_bytes(header(scope, b"content-length").encode("latin-1") or b"0")
        if announced is not None and announced > limit_bytes:
            await _refuse(limit_bytes)(scope, receive, send)
        else:
            await self._app(scope, _counting(receive, limit_bytes), send)


async def short_body(request: Request, *, limit_bytes: int) -> bytes:
    """The body of a request that takes less than others. Raises Problem 413, before more than that has come."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            detail = f"The body is larger than the {limit_bytes} bytes that a form may have. The API takes more."
            raise problems.Problem(413, problems.TOO_LARGE, detail)
    return body


def _counting(receive: Receive, limit_bytes: int) -> Receive:
    """A chunked body announces no length: it is counted as it comes."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit_bytes:
            raise problems.BodyTooLarge(limit_bytes)
        return message

    return counted


def _refuse(limit_bytes: int) -> ASGIApp:
    error = problems.BodyTooLarge(limit_bytes)
    return problems.response(problems.Problem(413, problems.TOO_LARGE, error.detail, headers=error.headers))
