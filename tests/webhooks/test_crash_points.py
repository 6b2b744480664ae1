"""A worker killed at each point of a delivery: it arrives under one `webhook-id`, no more often than is promised."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.queue.queue import Queue
from errand.settings import WEBHOOK_QUEUE
from errand.wire import keys
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.programs import start
from tests.waiting import eventually
from tests.webhooks.post.hostile import read_request

QUEUES = [keys.queue(WEBHOOK_QUEUE)]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SYN_SENT = "02"

ARRIVALS = {
    "before it connects": 1,
    "after the request": 2,
    "after the status line": 2,
    "before the outcome is written": 2,
    "after the outcome is written": 1,
}
"""How often the request arrives in all. A second time only if the worker dies between it and its outcome."""


@dataclass
class Receiver:
    """Holds a delivery at one point, until `answers` is set."""

    point: str
    taken: socket.socket
    requests: list[bytes] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    answers: bool = False

    @classmethod
    def at(cls, point: str) -> Receiver:
        """On a port of its own, where nobody listens yet."""
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        return cls(point, taken)

    @property
    def port(self) -> int:
        return int(self.taken.getsockname()[1])

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                self.requests.append(await read_request(reader))
                self.reached.set()
                if not self.answers and self.point == "after the status line":
                    writer.write(OK[:20])
                elif not self.answers and self.point == "before the outcome is written":
                    await self.may_answer.wait()
                    writer.write(OK)
                elif self.answers or self.point == "after the outcome is written":
                    writer.write(OK)
                await writer.drain()
                self.answered.set()
        writer.transport.abort()


@contextmanager
def doomed_worker(folder: Path, redis_url: str) -> Iterator[None]:
    """A worker process with a short lease, killed at the end of the block."""
    environment = {
        **os.environ,
        "DATA_DIR": str(folder),
        "REDIS_URL": redis_url,
        "WORKER_QUEUES": WEBHOOK_QUEUE,
        "WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
        "WEBHOOK_SINK_PORT": "0",
        "LEASE_S": "1",
    }
    process = start("jobs", environment=environment, output=folder / "jobs.log")
    try:
        yield
    finally:
        process.kill()
        process.wait()


def connecting_to(port: int) -> int:
    """How many connections to that port wait for their first answer."""
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return sum(re.match(rf" *\d+: \S+ 0100007F:{port:04X} {SYN_SENT} ", line) is not None for line in lines)


def fill(receiver: Receiver) -> list[socket.socket]:
    """Connections that nobody accepts, so that the next one is not answered."""
    receiver.taken.listen(0)
    fillers: list[socket.socket] = []
    while not connecting_to(receiver.port):
        fillers.append(socket.socket())
        fillers[-1].setblocking(False)
        fillers[-1].connect_ex(("127.0.0.1", receiver.port))
    return fillers


async def ended(redis: ArqRedis, job_id: str) -> JobSnapshot:
    async def look() -> JobSnapshot | None:
        job = await read_job(redis, job_id, queues=QUEUES)
        return job if job is not None and job.ended else None

    return await eventually(look)


async def all_reached(redis: ArqRedis, receivers: dict[str, Receiver], jobs: dict[str, str]) -> None:
    """Each delivery is at its point, but for the one whose outcome is to be lost: that one waits for its answer."""

    async def connects() -> bool:
        return connecting_to(receivers["before it connects"].port) == 2

    await eventually(connects)
    await ended(redis, jobs["after the outcome is written"])
    for point in ("after the request", "after the status line", "before the outcome is written"):
        await receivers[point].reached.wait()
    await receivers["after the status line"].answered.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who is connecting")
async def test_a_worker_killed_in_the_middle_of_a_delivery(
    redis: ArqRedis, redis_url: str, run_worker: RunWorker, tmp_path: Path
) -> None:
    receivers = {point: Receiver.at(point) for point in ARRIVALS}
    queue = Queue(redis, name=WEBHOOK_QUEUE, ended_ttl_s=600)
    jobs: dict[str, str] = {}
    async with AsyncExitStack() as stack:

        async def serve(receiver: Receiver) -> None:
            server = await asyncio.start_server(receiver.answer, sock=receiver.taken)
            await stack.enter_async_context(server)

        for point, receiver in receivers.items():
            args = {"url": f"http://127.0.0.1:{receiver.port}/", "event": "a.b", "data": point}
            jobs[point] = (await queue.enqueue("webhook", args)).job_id
            if point != "before it connects":
                await serve(receiver)
        fillers = fill(receivers["before it connects"])
        with doomed_worker(tmp_path / "doomed", redis_url):
            async with asyncio.timeout(60):
                await all_reached(redis, receivers, jobs)
                await redis.client_pause(60_000, all=False)
                receivers["before the outcome is written"].may_answer.set()
                await receivers["before the outcome is written"].answered.wait()
        await redis.client_unpause()
        for filler in fillers:
            filler.close()
        for receiver in receivers.values():
            receiver.answers = True
        await serve(receivers["before it connects"])
        async with run_worker([webhook], lease_s=1):
            done = {point: await ended(redis, job_id) for point, job_id in jobs.items()}
    outcomes = {point: [attempt.outcome for attempt in job.attempts] for point, job in done.items()}
    once = {"after the outcome is written": ["succeeded"]}
    assert outcomes == {point: once.get(point, ["lost", "succeeded"]) for point in ARRIVALS}
    assert {point: len(receiver.requests) for point, receiver in receivers.items()} == ARRIVALS
    for point, receiver in receivers.items():
        assert {id_and_body(request) for request in receiver.requests} == {id_and_body(receiver.requests[0])}, point


def id_and_body(request: bytes) -> tuple[bytes, bytes]:
    """What must be the same on every attempt."""
    head, _, body = request.partition(b"\r\n\r\n")
    found = re.search(rb"webhook-id: (\S+)", head, re.IGNORECASE)
    assert found
    return found[1], body
