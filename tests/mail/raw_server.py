"""A mail server that says what a well-behaved one would not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANGS_UP = b""
WAITS = b"250 at last"


@dataclass
class RawServer:
    """Says in SMTP what aiosmtpd would not: `replies` by command in turn, then 250."""

    url: str = ""
    replies: dict[bytes, list[bytes]] = field(default_factory=dict)
    letters: list[bytes] = field(default_factory=list)
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def serving(cls, **replies: list[bytes]) -> AsyncIterator[RawServer]:
        raw = cls(replies={command.encode(): said for command, said in replies.items()})
        server = await asyncio.start_server(raw._talk, "127.0.0.1", 0)
        raw.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield raw
            for writer in raw.connections:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        writer.write(b"220 ready\r\n")
        while line := await reader.readline():
            command = line.split()[0].upper()
            if command == b"DATA":
                writer.write(b"354 go on\r\n")
                self.letters.append(await reader.readuntil(b"\r\n.\r\n"))
            reply = self.replies[command].pop(0) if self.replies.get(command) else b"250 OK"
            if reply == HANGS_UP:
                break
            if reply == WAITS:
                await self.go_on.wait()
            writer.write(reply + b"\r\n")
        writer.close()
