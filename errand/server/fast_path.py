"""The usual request to a busy route goes right to what answers it; all others, and its faults, go the whole way.

Middlewares, the search for a route, and the contexts that FastAPI opens for dependencies take longer than all the rest
of such a request, and do nothing for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errand.http.gates.answer_headers import ALWAYS, MORE, UNLESS_SAID
from errand.http.routes.enqueue import RAISED, Answers
from errand.http.scope import announced_bytes

GUARDS = [*ALWAYS, *UNLESS_SAID]


class FastPath:
    """ASGI middleware: `busy` has what answers a POST of JSON to each busy path, and says nothing else of caches.

    What it takes on is a body of at most `limit_bytes` that is announced, without a query; `app` has all the rest.
    """

    def __init__(self, app: ASGIApp, *, busy: Mapping[str, Answers], limit_bytes: int) -> None:
        self._app = app
        self._busy = busy
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and not scope["query_string"]:
            answers = self._busy.get(scope["path"])
            if answers is not None and self._is_short(scope):
                await self._answer(answers, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_short(self, scope: Scope) -> bool:
        for name, value in scope["headers"]:
            if name == b"content-length":
                announced = announced_bytes(value)
                return announced is not None and announced <= self._limit_bytes
        return False

    async def _answer(self, answers: Answers, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self._app
        more = scope[MORE] = []
        try:
            response = await answers(_Announced(scope, receive))
        except Exception as error:  # noqa: BLE001  # raised again where the handlers of errors are
            scope[RAISED] = error
            await self._app(scope, receive, send)
        else:
            headers = [*response.raw_headers, *GUARDS, *more]
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": response.body})


class _Announced(Request):
    """A request whose body the server counts, by its length: it mostly comes in one piece."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            pieces = []
            more = True
            while more:
                message: Message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                pieces.append(message.get("body", b""))
                more = message.get("more_body", False)
            self._body = b"".join(pieces)
        return self._body
