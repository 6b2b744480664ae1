"""A TCP proxy between one worker and Redis that misbehaves as networks do: cuts, tears, crawls, falls silent."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

CHUNK_BYTES = 64 * 1024
PIECE_BYTES = 1024
"""A crawling link passes bytes on in pieces of this size."""


@dataclass
class Link:
    """All connections of one worker to Redis. Healthy unless set otherwise."""

    upstream_port: int
    random: Random
    port: int = 0
    delay_s: float = 0.0
    """Added to each chunk, either way."""
    piece_s: float = 0.0
    """How long a piece takes; 0: as fast as it comes."""
    tear_share: float = 0.0
    """The share of replies that break off somewhere, and the connection with them."""
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def open(cls, upstream_port: int, random: Random) -> AsyncIterator[Link]:
        """A link on a loopback port of its own."""
        link = cls(upstream_port, random)
        link._flows.set()
        server = await asyncio.start_server(link._accept, "127.0.0.1", 0)
        link.port = server.sockets[0].getsockname()[1]
        try:
            yield link
        finally:
            server.close()
            link.cut()
            await asyncio.gather(*link._connections, return_exceptions=True)

    def cut(self) -> None:
        """Ends every connection at once, whatever is on its way."""
        for connection in self._connections:
            connection.cancel()

    def stall(self) -> None:
        """Half-open: connections stay, and new ones are taken, but no byte passes either way."""
        self._flows.clear()

    def forget(self) -> None:
        """The connections there are stay, dead for ever, as behind a firewall that forgot them; new ones work."""
        self._flows.clear()
        self._flows = asyncio.Event()
        self._flows.set()

    def heal(self) -> None:
        """As a link should be; what was held back by a stall passes now."""
        self.delay_s, self.piece_s, self.tear_share = 0.0, 0.0, 0.0
        self._flows.set()

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        connection = asyncio.ensure_future(self._connect(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connect(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, until a side ends it or it is cut."""
        ends = [writer]
        try:
            with contextlib.suppress(OSError, ConnectionError):
                redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
                ends.append(redis_writer)
                flows = self._flows
                await _first_of(
                    self._pump(reader, redis_writer, flows), self._pump(redis_reader, writer, flows, replies=True)
                )
        finally:
            for end in ends:
                end.transport.abort()

    async def _pump(
        self, source: StreamReader, target: StreamWriter, flows: asyncio.Event, *, replies: bool = False
    ) -> None:
        while data := await source.read(CHUNK_BYTES):
            await flows.wait()
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if replies and self.random.random() < self.tear_share:
                target.write(data[: self.random.randrange(len(data))])
                await target.drain()
                return
            await self._pass_on(data, target)

    async def _pass_on(self, data: bytes, target: StreamWriter) -> None:
        if not self.piece_s:
            target.write(data)
            await target.drain()
            return
        for start in range(0, len(data), PIECE_BYTES):
            target.write(data[start : start + PIECE_BYTES])
            await target.drain()
            await asyncio.sleep(self.piece_s)


async def _first_of(*ways: Coroutine[None, None, None]) -> None:
    """Returns when the first of them ends; the others are cancelled."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
