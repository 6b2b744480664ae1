"""Five clients at once that send without end and read nothing: what they cost in memory, and others in time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract.raw.messages import LETTER, POST

CLIENTS = 5
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
FIRST_CHUNK = b"%x\r\n%b\r\n" % (len(LETTER), LETTER)
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"

ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "requests": (b"", (GET + b"\r\n") * 400),
    "upgrades": (b"", (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n") * 200),
    "trailers": (CHUNKED + FIRST_CHUNK + b"0\r\n", b"X-Trailer: 1\r\n" * 1_000),
    "extensions": (CHUNKED + b"1;", b"a" * 16_384),
    "tiny chunks": (CHUNKED, b"1\r\n \r\n" * 2_000),
    "line breaks": (b"", b"\r\n" * 8_192),
    "headers": (GET, b"X-Header: 1\r\n" * 1_000),
    "a body after a refusal": (
        b"POST /v1/nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n",
        b"a" * 16_384,
    ),
}
"""What each sends first, and then for ever; whoever is cut off comes again."""


@dataclass(frozen=True)
class Cost:
    """What the service paid for them."""

    kind: str
    grown_mib: float
    idle_p99_ms: float
    busy_p99_ms: float

    def __str__(self) -> str:
        times = self.busy_p99_ms / self.idle_p99_ms
        return (
            f"{CLIENTS} x endless {self.kind}: memory {self.grown_mib:+.0f} MiB; "
            f"others' p99 {self.busy_p99_ms:.1f} ms, idle {self.idle_p99_ms:.1f} ms ({times:.1f} x)"
        )


async def busy_p99_ms(port: int, *, asks: int) -> float:
    """How long one waits beside five clients that behave: each asks when it has its answer, and asks again."""
    asking = [asyncio.create_task(_ask_for_ever(port)) for _ in range(CLIENTS)]
    times_ms = [await asked_ms(port) for _ in range(asks)]
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return p99(times_ms)


async def _ask_for_ever(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            writer.write(GET + b"\r\n")
            await reader.readuntil(b"}")
    finally:
        writer.transport.abort()


async def cost_of(kind: str, *, port: int, pid: int, asks: int, idle_p99_ms: float) -> Cost:
    """Others ask so many times meanwhile."""
    before_mib = peak_mib = resident_mib(pid)
    async with hostile(kind, port=port):
        times_ms = []
        for _ in range(asks):
            times_ms.append(await asked_ms(port))
            peak_mib = max(peak_mib, resident_mib(pid))
    return Cost(kind, peak_mib - before_mib, idle_p99_ms, p99(times_ms))


@asynccontextmanager
async def hostile(kind: str, *, port: int) -> AsyncIterator[None]:
    """For the block."""
    sending = [asyncio.create_task(_send_for_ever(port, *ENDLESS[kind])) for _ in range(CLIENTS)]
    try:
        yield
    finally:
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


async def _send_for_ever(port: int, first: bytes, endless: bytes) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(first)
                while True:
                    writer.write(endless)
                    await writer.drain()
            finally:
                writer.transport.abort()  # else what lies in buffers is still to be answered
        await asyncio.sleep(0.01)


async def asked_ms(port: int) -> float:
    """How long another client waits for an answer, on a connection of its own."""
    began_s = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET + b"Connection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return (time.perf_counter() - began_s) * 1000


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def resident_mib(pid: int) -> float:
    """What a process has in memory, as Linux shows it."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024
