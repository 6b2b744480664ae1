"""Reads JSON as strictly as the queue will read it back: a job that was accepted must never become unreadable."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from json import JSONDecodeError
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

DEEP_LEVELS = 190
"""The queue's reader goes about 200 levels deep, and the record of a job puts one around its args."""


def parsed(body: bytes) -> Any:
    """The value in `body`.

    Raises ValueError for what is not JSON in the sense of RFC 8259, such as NaN or half of a surrogate pair, and for
    what is nested too deeply to be stored.
    """
    value = from_json(body, allow_inf_nan=False)
    if body.count(b"[") + body.count(b"{") > DEEP_LEVELS:
        from_json(b"[%b]" % body)
    return value


class StrictJsonRoute(APIRoute):
    """A route whose JSON bodies are read by `parsed`; Python's own reader, FastAPI's choice, takes more than JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return handle


class _StrictRequest(Request):
    async def json(self) -> Any:
        try:
            return parsed(await self.body())
        except ValueError as error:
            raise JSONDecodeError(str(error), "", 0) from None
