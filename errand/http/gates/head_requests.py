"""Answers HEAD on every path that answers GET: the same status and headers, no content (RFC 9110 §9.3.2)."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ASKED = "errand.head"
"""The key in the scope of a HEAD request that is answered as GET: a route that streams may skip the content."""


class HeadRequests:
    """ASGI app for HEAD requests alone: lets the GET route of `app` answer, and drops the content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # a copy: the server goes by the method in its own
        await self._app({**scope, "method": "GET", ASKED: True}, receive, _without_content(send))


def _without_content(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head
