"""The process in which a worker runs jobs that may end it; `errand.worker.isolation` asks it for attempts."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from redis.asyncio import Redis

from errand.leases.leases import Claim, Leases
from errand.redis.redis_py import copy_of
from errand.worker.isolation import CANCEL, READY, Asked
from errand.worker.worker import Worker

ACQUIT_LIMIT_S = 2.0
"""How long a process outlives its worker at most. The lease of the job lasts longer."""


WorkerOf = Callable[[str], Worker]
"""Makes the worker of the queue with that key."""


def ignore_signals() -> None:
    """What is sent to the whole process group or service makes the worker drain, and the job here is one of its own."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # a handler, not SIG_IGN: that would be inherited by the programs that jobs start
        signal.signal(number, lambda *_: None)


class Attempts:
    """The attempts that the worker asks for over a connection; the end of each is answered."""

    def __init__(self, connection: Connection, worker_of: WorkerOf) -> None:
        self._connection = connection
        self._worker_of = worker_of
        self._workers: dict[str, Worker] = {}
        self._asked: asyncio.Queue[tuple[str, Asked]] = asyncio.Queue()
        self._under_way: asyncio.Task[Any] | None = None
        self._job: tuple[str, Claim] | None = None
        """What is under way: the key of its queue, and its claim."""

    async def run(self) -> None:
        """Makes one attempt after the other."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=[loop], daemon=True).start()
        self._connection.send(READY)
        while True:
            queue, (claim, given) = await self._asked.get()
            self._job = queue, claim
            self._under_way = asyncio.create_task(self._worker(queue).attempt(claim, given))
            self._connection.send(await self._under_way)
            self._under_way = self._job = None

    def _worker(self, queue: str) -> Worker:
        if queue not in self._workers:
            self._workers[queue] = self._worker_of(queue)
        return self._workers[queue]

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own, so that the process ends with its worker even if the job blocks the loop."""
        parent = multiprocessing.parent_process()
        assert parent is not None
        while self._connection in wait([self._connection, parent.sentinel]):
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                break
            loop.call_soon_threadsafe(self._take, message)
        with contextlib.suppress(Exception):  # Redis is away, say: then the loss counts
            asyncio.run(asyncio.wait_for(self._acquit(), ACQUIT_LIMIT_S))
        os._exit(1)

    async def _acquit(self) -> None:
        """The worker is dead and this process is not: the job has not ended the worker, and its loss proves nothing."""
        if self._job is not None:
            queue, claim = self._job
            # in this thread, on a connection of its own: the job may block the loop
            pool = copy_of(self._workers[queue].pool.connection_pool, reply_timeout_s=ACQUIT_LIMIT_S)
            async with Redis.from_pool(pool) as redis:
                await Leases(redis, queue=queue, worker=claim.token, lease_s=1).end_isolated(claim)

    def _take(self, message: Any) -> None:
        if message != CANCEL:
            self._asked.put_nowait(message)
        elif self._under_way is not None:
            self._under_way.cancel()
