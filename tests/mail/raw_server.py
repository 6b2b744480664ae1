"""A mail server that says what a well-behaved one would not."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANGS_UP = b"hangs up"
WAITS = b"250 at last"
MUTE = b"mute"

DEFAULTS = {b"CONNECT": b"220 ready", b"DATA": b"354 go on", b"STARTTLS": b"220 go on"}


@dataclass
class RawServer:
    """Says in SMTP what aiosmtpd would not: `replies` by command in turn, then the usual.

    Beside the commands: `CONNECT`, the greeting; `DOT`, the reply to a message; `HEADERS`, what happens in its midst.
    `always` has the replies that come each time.
    """

    url: str = ""
    replies: dict[bytes, list[bytes]] = field(default_factory=dict)
    always: dict[bytes, bytes] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    letters: list[bytes] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    said: list[bytes] = field(default_factory=list)
    """To which commands it has replied, or was about to when it fell silent."""
    before_dot: Callable[[], Awaitable[object]] | None = None
    """Done when a message has come, before the reply to it."""
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def serving(
        cls,
        always: dict[bytes, bytes] | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        implicit_tls: bool = False,
        script: dict[str, list[bytes]] | None = None,
        **replies: list[bytes],
    ) -> AsyncIterator[RawServer]:
        said = {command.encode(): said for command, said in {**(script or {}), **replies}.items()}
        raw = cls(replies=said, always=always or {}, tls=tls)
        server = await asyncio.start_server(raw._accept, "127.0.0.1", 0, ssl=tls if implicit_tls else None)
        raw.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield raw
        finally:
            server.close()
            for talk in raw._talks:
                talk.cancel()
            await asyncio.gather(*raw._talks, return_exceptions=True)
            for writer in raw.connections:
                writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        self._talks.add(talk := asyncio.ensure_future(self._talk(reader, writer)))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._answer(b"CONNECT", writer):
            return
        while line := await reader.readline():
            self.commands.append(line.strip())
            command = (line.split() or [b""])[0].upper()
            if not await self._answer(command, writer):
                return
            if command == b"STARTTLS" and self.tls is not None:
                await writer.start_tls(self.tls)
            if command == b"DATA" and self._last == DEFAULTS[b"DATA"]:
                if (midst := self._next(b"HEADERS", b"")) == HANGS_UP:
                    return
                if midst == MUTE:
                    self.said.append(b"HEADERS")
                    await asyncio.Event().wait()
                self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
                if not await self._answer(b"DOT", writer):
                    return

    async def has_come_to(self, point: str, times: int) -> bool:
        """So many conversations are at that command, or (`250`) have got the reply to their message."""
        return self.said.count(point.encode()) >= times

    def _next(self, command: bytes, default: bytes) -> bytes:
        waiting = self.replies.get(command)
        self._last = waiting.pop(0) if waiting else self.always.get(command, default)
        return self._last

    async def _answer(self, command: bytes, writer: asyncio.StreamWriter) -> bool:
        """Says it; False if the connection is to end."""
        if command == b"DOT" and self.before_dot is not None:
            await self.before_dot()
        reply = self._next(command, DEFAULTS.get(command, b"250 OK"))
        self.said.append(b"250" if command == b"DOT" and reply != MUTE else command)
        if reply == HANGS_UP:
            return False
        if reply == MUTE:
            await asyncio.Event().wait()
        if reply == WAITS:
            await self.go_on.wait()
        writer.write(reply + b"\r\n")
        await writer.drain()
        return True
