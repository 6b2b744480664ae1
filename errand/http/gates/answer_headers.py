"""Adds headers to every answer that forbid browsers and caches to guess types, to frame answers, and to keep them."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]


ALWAYS: tuple[Header, ...] = ((b"x-content-type-options", b"nosniff"),)


UNLESS_SAID: tuple[Header, ...] = (
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""A route may set its own instead: a page needs its scripts, a file may be kept, a form says where it stands."""


MORE = "errand.answer_headers"
"""The key of a request's scope under which a route or a gate leaves further headers for its answer."""


class AnswerHeaders:
    """ASGI middleware: adds the headers of every answer, and those that were left in the request's scope.

    HEAD requests go to `head`, all others to `app`: a middleware between them would cost every request.
    """

    def __init__(self, app: ASGIApp, *, head: ASGIApp) -> None:
        self._app = app
        self._head = head

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        app = self._head if scope["method"] == "HEAD" else self._app
        # the fast path may have left some before it passed the request on
        more: list[Header] = scope.setdefault(MORE, [])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = message.get("headers", ())
                names = [name for name, _ in said]
                unsaid = [header for header in UNLESS_SAID if header[0] not in names]
                # a new list: that of the message may be the answer's own, which may be sent again
                message["headers"] = [*said, *ALWAYS, *unsaid, *more]
            await send(message)

        await app(scope, receive, send_with_headers)
