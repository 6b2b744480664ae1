"""Five clients that send without end and read nothing, and one that asks beside them; two processes."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import uvloop

from tests.bench.candidate import main, percentile_ms
from tests.contract.raw.endless import ENDLESS, asked_ms, hostile

KINDS = tuple(ENDLESS)
PAUSE_S = 0.005
"""Between two questions: one client that asks now and then, as most do."""


async def flood(url: str, port: float, kind: float) -> dict[str, Any]:
    """Until it is killed."""
    # attackers have machines of their own: what they take of this one's cores is no delay that the server causes
    os.nice(19)
    async with hostile(KINDS[int(kind)], port=int(port)):
        await asyncio.Event().wait()
    return {}


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class Bare(asyncio.Protocol):
    """Answers who asks one thing and closes, and reads nothing more of anybody else: no server could spend less."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"Connection: close\r\n\r\n"):
            self._transport.write(ANSWER)
            self._transport.close()
        else:
            self._transport.pause_reading()


async def bare(url: str, port: float) -> dict[str, Any]:
    """Serves until it is killed: what the same attack costs others by this machine alone, whatever the server does."""
    await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", int(port))
    await asyncio.Event().wait()
    return {}


async def ask(url: str, port: float, number: float) -> dict[str, Any]:
    """How long a client waits for an answer, on a new connection for each question."""
    times_s = []
    for _ in range(int(number)):
        times_s.append(await asked_ms(int(port)) / 1000)
        await asyncio.sleep(PAUSE_S)
    return {"p50_ms": percentile_ms(times_s, 0.5), "p99_ms": percentile_ms(times_s, 0.99)}


if __name__ == "__main__":
    main({"flood": flood, "bare": bare, "ask": ask}, uvloop.run)
