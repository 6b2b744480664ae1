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
            counted = _Counted(receive, send, limit_bytes)
            await self._app(scope, counted.receive, counted.send)


async def short_body(request: Request, *, limit_bytes: int) -> bytes:
    """The body of a request that takes less than others. Raises Problem 413, before more than that has come."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            detail = f"The body is larger than the {limit_bytes} bytes that a form may have. The API takes more."
            raise problems.Problem(413, problems.TOO_LARGE, detail)
    return body


class _Counted:
    """A chunked body announces no length: it is counted as it comes."""

    def __init__(self, receive: Receive, send: Send, limit_bytes: int) -> None:
        self._receive, self._send, self._limit_bytes = receive, send, limit_bytes
        self._seen = 0
        self._is_answered = False

    async def receive(self) -> Message:
        """Raises BodyTooLarge; once the answer has started, a client that sends more than that counts as gone: what
        listens for its end then is a stream, and no error can be answered any more."""
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen <= self._limit_bytes:
            return message
        if self._is_answered:
            return {"type": "http.disconnect"}
        raise problems.BodyTooLarge(self._limit_bytes)

    async def send(self, message: Message) -> None:
        self._is_answered = True
        await self._send(message)


def _refuse(limit_bytes: int) -> ASGIApp:
    error = problems.BodyTooLarge(limit_bytes)
    return problems.response(problems.Problem(413, problems.TOO_LARGE, error.detail, headers=error.headers))
