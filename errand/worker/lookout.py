"""One look at all queues of a process, so that its idle workers need not each poll their own.

A process has a worker for each queue. An idle one is woken for nearly everything; what no wake-up comes for (a stock
producer, a lost token, jobs that another worker has parked) only a look at the queue shows, and four queues polled each
second were most of what an idle process asked of Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from redis.asyncio import Redis

from errand.redis import script
from errand.wire import keys
from errand.worker.worker import Worker

log = structlog.get_logger("errand.worker")


class Lookout:
    """Looks at the queues of `workers`, which know the same types, every `every_s` seconds."""

    def __init__(self, redis: Redis, workers: Sequence[Worker], *, every_s: float) -> None:
        self._workers = workers
        self._every_s = every_s
        self._script = script.load(redis, "worker/look")
        self._types = sorted({name for worker in workers for name in worker.functions})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks until the block ends; meanwhile the workers rest longer by themselves."""
        for worker in self._workers:
            worker.rely_on_lookout()
        looking = asyncio.create_task(self._look_again_and_again())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                answers = await self._script(keys=self._keys(), args=[len(self._types)])
            except Exception as error:  # noqa: BLE001  # each worker sorts what it meets when it looks for itself
                log.debug("the queues could not be looked at together", error=str(error))
                answers = [0] * len(self._workers)
            for worker, due_in_ms in zip(self._workers, answers, strict=True):
                if due_in_ms >= 0:
                    worker.note_next_due(due_in_ms)

    def _keys(self) -> list[str]:
        queues = [worker.queue_name for worker in self._workers]
        return [
            key
            for queue in queues
            for key in (queue, keys.paused(queue), *(keys.parked(queue, name) for name in self._types))
        ]
