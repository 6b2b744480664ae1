"""Holds pages open as a browser does: each follows its stream, and is read anew as the page's own script reads it.

Every second one is a list of jobs, which reads itself again only if its reader asks; the others are overviews.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any
from uuid import UUID

import uvloop

from tests.bench.candidate import main, percentile_ms

HEAD = "Host: 127.0.0.1\r\n"
READ_AGAIN_S = 30
"""The overview says so to its script: `data-every`."""
SAMPLED = 20
"""One page in so many reads what it is sent: for all of them that would take longer than to serve them."""
BEAT = b"event: beat\ndata: "


class OpenPage(asyncio.Protocol):
    """The stream of one page; counts beats, and notes how late it hears of each new job if it is to."""

    def __init__(self, jobs: bool, late_s: list[float] | None) -> None:
        self._jobs = jobs
        self._late_s = late_s
        self._rest = b""
        self._seen: set[str] = set()
        self.beats = 0

    def connection_made(self, transport: Any) -> None:
        jobs = "true" if self._jobs else "false"
        transport.write(f"GET /dashboard/live?jobs={jobs} HTTP/1.1\r\n{HEAD}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self.beats += data.count(BEAT)
        if self._late_s is None:
            return
        *messages, self._rest = (self._rest + data).split(b"\n\n")
        for message in messages:
            if (at := message.find(BEAT)) >= 0:
                self._note(json.loads(message[at + len(BEAT) :].partition(b"\n")[0])["jobs"])

    def _note(self, jobs: list[dict[str, Any]]) -> None:
        """A job's id says when it was put: it is a UUIDv7."""
        now_s = time.time()
        new = {job["id"] for job in jobs} - self._seen
        if self._late_s is not None and self._seen:
            self._late_s += [now_s - (UUID(job_id).int >> 80) / 1000 for job_id in new]
        self._seen |= new


async def hold(url: str, port: float, number: float, seconds: float) -> dict[str, Any]:
    """So many pages open for so long: how many beats the one with the fewest had, and how late new jobs were there."""
    late_s: list[float] = []
    loop, pages, reading = asyncio.get_running_loop(), [], []
    for index in range(int(number)):
        page = OpenPage(index % 2 == 0, late_s if index % SAMPLED == 0 else None)
        await loop.create_connection(lambda page=page: page, "127.0.0.1", int(port))  # type: ignore[misc]  # mypy does not know the type of a lambda with a default
        pages.append(page)
        if index % 2:
            reading.append(asyncio.create_task(_read_again(int(port), index / number * READ_AGAIN_S)))
    await asyncio.sleep(seconds)
    for task in reading:
        task.cancel()
    return {"p99_ms": percentile_ms(late_s, 0.99), "least": min(page.beats for page in pages)}


async def _read_again(port: int, first_s: float) -> None:
    """As the script of an open overview, which does so each half minute."""
    await asyncio.sleep(first_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        writer.write(f"GET /dashboard HTTP/1.1\r\n{HEAD}Connection: keep-alive\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(length)
        await asyncio.sleep(READ_AGAIN_S)


if __name__ == "__main__":
    main({"hold": hold}, uvloop.run)
