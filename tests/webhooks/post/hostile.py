"""Receivers that answer as no HTTP library would: each a few steps, and what a POST to it must come to."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

Step = bytes | Literal["close", "reset", "hang", "endless", "drip"]
"""Bytes to send, or how it goes on: `endless` sends the bytes before it again and again, `drip` one each 20 ms."""


@dataclass
class Receiver:
    """Answers each request with the same steps."""

    steps: Sequence[Step]
    url: str = ""
    requests: int = 0
    sent_bytes: int = 0
    hung_up_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await read_request(reader)
                self.requests += 1
                await self._play(reader, writer)
        self.hung_up_on.set()

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        last = b""
        for step in self.steps:
            if isinstance(step, bytes):
                last = step
                await self._send(writer, step)
            elif step == "endless":
                while True:
                    await self._send(writer, last)
            elif step == "drip":
                while True:
                    await self._send(writer, last)
                    await asyncio.sleep(0.02)
            elif step == "hang":
                await reader.read()
                raise ConnectionError
            else:
                if step == "reset":
                    taken = writer.get_extra_info("socket")
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise ConnectionError

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent_bytes += len(data)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request with its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return head + await reader.readexactly(length)


@asynccontextmanager
async def receiving(*steps: Step, **options: Any) -> AsyncIterator[Receiver]:
    """A receiver with these steps on a free port; `options` are those of `asyncio.start_server`."""
    receiver = Receiver(steps)
    async with serving(receiver.answer, **options) as url:
        receiver.url = url
        yield receiver


Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Answering, **options: Any) -> AsyncIterator[str]:
    """The URL of a server that handles each connection by `answer`; nothing of it outlives the block."""
    running: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await answer(reader, writer)
        finally:
            running.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, **options)
    scheme = "https" if "ssl" in options else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running)


BOMB = gzip.compress(bytes(50_000_000))
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH_5 = OK + b"Content-Length: 5\r\n\r\n"

DECIDED: dict[str, tuple[int, list[Step]]] = {
    # nothing odd
    "204": (204, [b"HTTP/1.1 204 No Content\r\n\r\n"]),
    "200 with a length": (200, [LENGTH_5 + b"hello"]),
    "200 in chunks": (200, [CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"]),
    "200 until the end": (200, [OK + b"\r\nhello", "close"]),
    "201 of HTTP/1.0": (201, [b"HTTP/1.0 201 Created\r\n\r\n", "close"]),
    "no reason": (200, [b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"]),
    "reason in UTF-8": (202, ["HTTP/1.1 202 Přijato\r\nContent-Length: 0\r\n\r\n".encode()]),
    "lines without CR": (200, [b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"]),
    "in single bytes": (200, [bytes([byte]) for byte in LENGTH_5 + b"hello"]),
    "103 before it": (200, [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + LENGTH_5 + b"hello"]),
    "100 before it": (200, [b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + LENGTH_5 + b"hello"]),
    # the head is odd
    "204 with a body": (204, [b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"]),
    "204 in chunks": (204, [b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
    "204 with bytes behind it": (204, [b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 Haha\r\n\r\n"]),
    "a header of 20 kB": (200, [OK + b"X: " + b"x" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n"]),
    "1,300 headers": (200, [OK + b"X-Y: z\r\n" * 1_300 + b"Content-Length: 0\r\n\r\n"]),
    "50,000 headers": (200, [OK + b"a:b\r\n" * 50_000 + b"\r\n"]),
    "50 MB of headers": (200, [OK, b"X: " + b"x" * 65_536 + b"\r\n", "endless"]),
    "a header without an end": (200, [OK + b"X: ", b"x" * 65_536, "endless"]),
    "a space in a header's name": (200, [OK + b"Bad Name: x\r\nContent-Length: 0\r\n\r\n"]),
    "a space before the colon": (200, [OK + b"Content-Length : 0\r\n\r\n"]),
    "a header without a name": (200, [OK + b": x\r\n\r\n"]),
    "a header without a colon": (200, [OK + b"rubbish\r\n\r\n"]),
    "NUL in a header": (200, [OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n"]),
    "a folded header": (200, [OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n"]),
    "bytes that are no ASCII": (200, [OK + b"X: \xff\xfe\r\nContent-Length: 0\r\n\r\n"]),
    "two lengths": (200, [OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"]),
    "a negative length": (200, [OK + b"Content-Length: -5\r\n\r\nhello"]),
    "a length beyond numbers": (200, [OK + b"Content-Length: " + b"9" * 400 + b"\r\n\r\nhello"]),
    "a length that is no number": (200, [OK + b"Content-Length: five\r\n\r\nhello"]),
    "length and chunks": (200, [OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
    "an unknown coding": (200, [OK + b"Transfer-Encoding: brotli\r\n\r\nhello", "close"]),
    "the head cut short": (200, [OK + b"Content-Le", "close"]),
    "reset in the head": (200, [OK + b"Content-Le", "reset"]),
    "hangs in the head": (200, [OK + b"X: y\r\n", "hang"]),
    "a head that drips": (200, [OK, b"X: y\r\n", "drip"]),
    # the body is odd
    "closed before the body": (200, [LENGTH_5, "close"]),
    "reset before the body": (200, [LENGTH_5, "reset"]),
    "the body cut short": (200, [LENGTH_5 + b"he", "close"]),
    "reset in the body": (200, [LENGTH_5 + b"he", "reset"]),
    "hangs before the body": (200, [LENGTH_5, "hang"]),
    "hangs in the body": (200, [LENGTH_5 + b"he", "hang"]),
    "a body that drips": (200, [OK + b"Content-Length: 100000\r\n\r\n", b"x", "drip"]),
    "an endless body": (200, [OK + b"\r\n", b"x" * 65_536, "endless"]),
    "endless chunks": (200, [CHUNKED, b"4\r\nabcd\r\n" * 1_000, "endless"]),
    "a body longer than said": (200, [LENGTH_5 + b"hello and more"]),
    "a bad chunk size": (200, [CHUNKED + b"xyz\r\nhello\r\n0\r\n\r\n"]),
    "a negative chunk size": (200, [CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n"]),
    "a chunk size beyond numbers": (200, [CHUNKED + b"f" * 400 + b"\r\nhello"]),
    "a chunk longer than said": (200, [CHUNKED + b"2\r\nhello\r\n0\r\n\r\n"]),
    "an endless chunk line": (200, [CHUNKED + b"5;", b"x" * 65_536, "endless"]),
    "chunks of one byte": (200, [CHUNKED + b"1\r\nx\r\n" * 16_000 + b"0\r\n\r\n"]),
    "a chunk cut short": (200, [CHUNKED + b"5\r\nhe", "reset"]),
    "endless trailers": (200, [CHUNKED + b"0\r\n", b"X: y\r\n" * 1_000, "endless"]),
    "a gzip bomb": (200, [OK + b"Content-Encoding: gzip\r\n\r\n" + BOMB[:10], BOMB[10:], "endless"]),
    # failures are failures however they go on
    "301": (301, [b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"]),
    "410 cut short": (410, [b"HTTP/1.1 410 Gone\r\nContent-Length: 9\r\n\r\n", "reset"]),
    "500 with endless headers": (500, [b"HTTP/1.1 500 Oh\r\n", b"X: " + b"x" * 65_536 + b"\r\n", "endless"]),
    "999": (999, [b"HTTP/1.1 999 No\r\nContent-Length: 0\r\n\r\n"]),
}
"""Answers with a status line: the status that counts, whatever follows."""

UNDECIDED: dict[str, tuple[str, list[Step]]] = {
    "closes at once": ("reset", ["close"]),
    "resets at once": ("reset", ["reset"]),
    "closes in the version": ("reset", [b"HTTP/1", "close"]),
    "resets in the status": ("reset", [b"HTTP/1.1 20", "reset"]),
    "closes before the line's end": ("reset", [b"HTTP/1.1 200 OK", "close"]),
    "resets in an interim answer": ("reset", [b"HTTP/1.1 103 Early Hints\r\nLi", "reset"]),
    "hangs": ("timeout", ["hang"]),
    "hangs in the status line": ("timeout", [b"HTTP/1.1 200", "hang"]),
    "drips its status line": ("timeout", [b"HTTP/1.1 200 ", b"O", "drip"]),
    "drips interim answers": ("timeout", [b"HTTP/1.1 100 Continue\r\n\r\n", "drip"]),
    "hangs after an interim answer": ("timeout", [b"HTTP/1.1 100 Continue\r\n\r\n", "hang"]),
    "a flood of interim answers": ("protocol", [b"HTTP/1.1 100 Continue\r\n\r\n" * 50, "endless"]),
    "an endless status line": ("protocol", [b"HTTP/1.1 200 ", b"x" * 65_536, "endless"]),
    "an interim head without an end": ("protocol", [b"HTTP/1.1 103 H\r\n", b"X: " + b"x" * 65_536, "endless"]),
    "101": ("protocol", [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"]),
    "HTTP/0.9": ("protocol", [b"<html>200 OK</html>\r\n", "close"]),
    "HTTP/2": ("protocol", [b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0d\n\0\0", "hang"]),
    "HTTP/3.0": ("protocol", [b"HTTP/3.0 200 OK\r\n\r\n"]),
    "SSH": ("protocol", [b"SSH-2.0-OpenSSH_9.2\r\n", "hang"]),
    "SMTP": ("protocol", [b"220 mail.example ESMTP\r\n", "hang"]),
    "a status of two digits": ("protocol", [b"HTTP/1.1 20 OK\r\n\r\n"]),
    "a status of four digits": ("protocol", [b"HTTP/1.1 2000 OK\r\n\r\n"]),
    "a status below 100": ("protocol", [b"HTTP/1.1 099 Hm\r\n\r\n"]),
    "two spaces": ("protocol", [b"HTTP/1.1  200 OK\r\n\r\n"]),
    "ICY": ("protocol", [b"ICY 200 OK\r\n\r\n"]),
    "an empty line first": ("protocol", [b"\r\n\r\n\r\n"]),
}
"""Answers without a status line: the kind of the fault."""
