"""A stream of Server-Sent Events that its own client alone follows, until it hangs up or the process stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from errand.http.answers.event_stream import HEADERS
from errand.http.scope import CONNECTION, Connection

Chunks = Callable[[asyncio.Event], AsyncGenerator[bytes, None]]


class PolledStream(EventSourceResponse):
    """Sends what `chunks` yields; the event that it is given is set when it must end."""

    def __init__(self, chunks: Chunks, *, at_end: Callable[[], None]) -> None:
        """`at_end` is called once the stream has ended, however it did."""
        super().__init__((), headers=HEADERS)
        self._chunks = chunks
        self._at_end = at_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        over = asyncio.Event()
        connection: Connection | None = scope.get(CONNECTION)
        if connection is not None:
            connection.at_shutdown = over.set
        hang_up = asyncio.create_task(_set_at_disconnect(over, receive))
        chunks = self._chunks(over)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            hang_up.cancel()
            await chunks.aclose()
            if connection is not None:
                connection.at_shutdown = _nothing
            self._at_end()


async def _set_at_disconnect(over: asyncio.Event, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    over.set()


def _nothing() -> None:
    pass
