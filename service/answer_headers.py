"""What every answer says to browsers and caches: bytes are what they are called, and nobody frames or keeps them."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    # without keys this machine is served, also where a page from elsewhere asks for an image
    (b"cross-origin-resource-policy", b"same-site"),
)
UNLESS_SAID: tuple[Header, ...] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""A route may say otherwise: a page needs its scripts, a file may be kept."""
MORE = "errand.answer_headers"
"""The place in a request's scope where a route, or what guards it, leaves further headers of its answer."""


class AnswerHeaders:
    """ASGI middleware: adds the headers of every answer, and those that were left in the request's scope."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        more: list[Header] = []
        scope[MORE] = more

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = message.get("headers", ())
                names = [name for name, _ in said]
                unsaid = [header for header in UNLESS_SAID if header[0] not in names]
                # a new list: that of the message may be the answer's own, which may be sent again
                message["headers"] = [*said, *ALWAYS, *unsaid, *more]
            await send(message)

        await self._app(scope, receive, send_with_headers)
