"""Who watches, waits and cancels, and a steady load beside them; each in a process of its own, light in itself."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import time
from typing import Any

import uvloop

from tests.bench.candidate import main, percentile_ms
from tests.bench.errand_side import opened
from tests.bench.http_side import KEY, content_length, request_of

HEAD = f"Host: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
CHANGE = re.compile(rb"}\nid: ([^\n]+)")
POSITION = re.compile(rb"(\d+)-\d+@")
CLIENTS = 20
LIMIT_S = 60
SAMPLED = 20
"""One watcher in so many is timed: to time all would take longer than to serve them."""


class Watching(asyncio.Protocol):
    """One watcher; counts events, and notes how late they come where it is to."""

    def __init__(self, late_s: list[float] | None) -> None:
        self._late_s = late_s
        self._rest = b""
        self.received = 0

    def connection_made(self, transport: Any) -> None:
        transport.write(f"GET /v1/events HTTP/1.1\r\n{HEAD}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now_s = time.time()
        self.received += data.count(b"\nevent: ") + data.startswith(b"event: ")
        if self._late_s is not None:
            self._rest += data
            end = self._rest.rfind(b"\n\n")
            if end >= 0:
                self._late_s += [now_s - changed_s(cursor) for cursor in CHANGE.findall(self._rest, 0, end)]
                self._rest = self._rest[end:]


def changed_s(cursor: bytes) -> float:
    """When a change happened, in s since the epoch: the latest of the positions that its cursor has for each queue."""
    return max(int(ms) for ms in POSITION.findall(cursor)) / 1000


async def watch(url: str, port: float, number: float, changes: float) -> dict[str, Any]:
    """How late so many changes come to watchers of everything, from the moment that Redis knows of them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    late_s: list[float] = []
    loop = asyncio.get_running_loop()
    watchers = []
    for index in range(int(number)):
        noted = late_s if index % SAMPLED == 0 else None
        watchers.append((await loop.create_connection(lambda noted=noted: Watching(noted), "127.0.0.1", int(port)))[1])  # type: ignore[misc]  # mypy does not know the type the type of a lambda with a default
    until_s = time.monotonic() + LIMIT_S
    while time.monotonic() < until_s and any(watcher.received < changes for watcher in watchers):
        await asyncio.sleep(0.5)
    received = [watcher.received for watcher in watchers]
    return {
        "p50_ms": percentile_ms(late_s, 0.5),
        "p99_ms": percentile_ms(late_s, 0.99),
        "max_ms": percentile_ms(late_s, 1),
        "least": min(received),
        "most": max(received),
    }


async def post(url: str, port: float, per_s: float, seconds: float) -> dict[str, Any]:
    """Enqueues at a steady pace for so long; returns when each request is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    started_s = time.perf_counter()
    number = int(per_s * seconds)
    answered = asyncio.create_task(_read_answers(reader, number))
    for index in range(number):
        await asyncio.sleep(max(0, started_s + index / per_s - time.perf_counter()))
        writer.write(request_of(0, keyed=False))
    await asyncio.wait_for(answered, LIMIT_S)
    writer.close()
    return {"posted": number}


async def _read_answers(reader: asyncio.StreamReader, number: int) -> None:
    for _ in range(number):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(content_length(head.split(b"\r\n")))


async def wait(url: str, port: float, number: float) -> dict[str, Any]:
    """From a job's last line to the answer of the request that waits for it, twenty at a time."""
    late_s: list[float] = []
    async with opened(url) as (_, queue):

        async def client() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
            for _ in range(int(number) // CLIENTS):
                put = await queue.enqueue("lasting", {})
                writer.write(f"GET /v1/jobs/{put.job_id}?wait=30 HTTP/1.1\r\n{HEAD}\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                job = json.loads(await reader.readexactly(content_length(head.split(b"\r\n"))))
                late_s.append(time.time() - job["result"])
            writer.close()

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return {"p50_ms": percentile_ms(late_s, 0.5), "p99_ms": percentile_ms(late_s, 0.99)}


if __name__ == "__main__":
    main({measure.__name__: measure for measure in (watch, post, wait)}, uvloop.run)
