"""A client of Server-Sent Events, and the service as uvicorn serves it: in-process transports do not stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn

from errand.http.shared import Shared
from errand.server.http_protocol import protocol
from settings import Settings
from tests.apps import app_with
from tests.waiting import NEVER_S, eventually

STOP_S = 10
"""How long a stop waits for answers that are under way."""


@dataclass
class Event:
    """One event, or what stands for one: a block of comments and ids."""

    name: str = ""
    data: Any = None
    id: str = ""
    comment: str = ""
    retry: str = ""


@dataclass
class Service:
    """One API process, as far as others can tell."""

    url: str
    server: uvicorn.Server
    shared: Shared
    client: httpx.AsyncClient = field(repr=False)

    @asynccontextmanager
    async def watching(self, path: str = "/v1/events", *, after: str = "", **params: Any) -> AsyncIterator[Stream]:
        """A stream that has started."""
        headers = {"Last-Event-ID": after} if after else {}
        async with self.client.stream("GET", path, headers=headers, params=params) as answer:
            stream = Stream(answer)
            if answer.status_code == 200:
                stream.opening = await stream.block()
            yield stream


class Stream:
    """What a watcher reads."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.opening = Event()
        self.last_id = ""
        self._lines = answer.aiter_lines()

    async def block(self) -> Event:
        """The next block; asyncio.IncompleteReadError at the end of the stream."""
        event = Event()
        async with asyncio.timeout(NEVER_S):
            async for line in self._lines:
                if not line:
                    self.last_id = event.id or self.last_id
                    return event
                name, _, value = line.partition(": ")
                match name:
                    case "":
                        event.comment = value
                    case "event":
                        event.name = value
                    case "data":
                        event.data = json.loads(value)
                    case _:
                        setattr(event, name, value)
        raise asyncio.IncompleteReadError(b"", None)

    async def events(self, number: int) -> list[Event]:
        """The next so many that are no comments."""
        found: list[Event] = []
        while len(found) < number:
            block = await self.block()
            if block.name:
                found.append(block)
        return found

    async def until_end(self) -> list[Event]:
        """All that still comes."""
        found: list[Event] = []
        while True:
            try:
                found.append(await self.block())
            except asyncio.IncompleteReadError:
                return found


@asynccontextmanager
async def serving(settings: Settings, redis_url: str, *, port: int = 0) -> AsyncIterator[Service]:
    """The service on a port of its own, or on that one, from its start to its end."""
    app = app_with(settings, redis_url=redis_url)
    http = protocol(settings.body_timeout_s)
    config = uvicorn.Config(
        app, port=port, http=http, log_config=None, access_log=False, timeout_graceful_shutdown=STOP_S
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=NEVER_S, verify=False) as client:
            yield Service(url, server, app.state.shared, client)
    finally:
        server.should_exit = True
        await running
