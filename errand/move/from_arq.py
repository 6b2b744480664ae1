"""Moves the waiting jobs of a stock Arq queue to Errand's: each is taken from Arq's workers, put, and then removed.

A job is Arq's or Errand's, also where this is killed: it is put under its id, which can be put once, and a job that was
put is only removed from Arq's queue by the next run. Arq's workers may run meanwhile: they leave alone what is marked
as in progress, and this leaves alone what they run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

from arq.utils import timestamp_ms

from errand.job.job_type import JobType
from errand.move.arq_body import CannotMove, converted
from errand.move.to_redis import Say, Server, in_lines, is_same_server
from errand.move.values import ask
from errand.queue.new_job import Entry
from errand.queue.queue import Queue
from errand.wire import codec, keys

AT_ONCE = 50

TASKS = 500
"""So many jobs have a task each at once: those of a million would take gigabytes."""

HOLD_MS = 5 * 60_000
"""How long a job is kept from Arq's workers if this is killed before it has put it.

Longer than the servers may take for it, a minute for each of four answers: an Arq worker would run what is put here.
"""

RUNS = "an Arq worker runs it now"
ANOTHER = "another job of its id waits or runs in Errand, or has ended there and is still known"


class FromArq:
    """Moves the jobs of one queue of stock Arq."""

    def __init__(
        self,
        source: Server,
        target: Server,
        *,
        arq_queue: str,
        job_types: Mapping[str, JobType[Any, Any]],
        result_ttl_s: float,
        say: Say,
    ) -> None:
        """`arq_queue`: the queue's key, `arq:queue` unless it has another. Jobs of unknown names go to `default`."""
        self._arq = source.redis
        self._target = target
        self._arq_queue = arq_queue
        self._job_types = job_types
        self._result_ttl_s = result_ttl_s
        self._say = say
        self._queues: dict[str, Queue] = {}
        self._moved: Counter[str] = Counter()
        self._left: Counter[str] = Counter()

    async def run(self) -> int:
        """Moves what can be moved, and accounts for each job; returns how many are left, each for a reason."""
        waiting = await self._arq.zrange(self._arq_queue, 0, -1, withscores=True)
        same = await is_same_server(self._arq, self._target.redis)
        gate = asyncio.Semaphore(AT_ONCE)

        async def move(job_id: bytes, due_ms: float) -> None:
            async with gate:
                await self._move(job_id.decode(), int(due_ms), same_server=same)

        for start in range(0, len(waiting), TASKS):
            await asyncio.gather(*(move(job_id, due_ms) for job_id, due_ms in waiting[start : start + TASKS]))
        self._account(len(waiting))
        return self._left.total()

    def _account(self, waiting: int) -> None:
        self._say(
            f"{waiting:,} jobs waited in {self._arq_queue}: {self._moved.total():,} moved to {self._target.shown}"
        )
        for line in in_lines(self._moved.most_common()):
            self._say(line)
        if self._left:
            self._say(f"{self._left.total():,} left where they are:")
        for line in in_lines(self._left.most_common()):
            self._say(line)

    async def _move(self, job_id: str, due_ms: int, *, same_server: bool) -> None:
        # `1` is what Arq's workers write; they step over a job that has it, and so do Errand's
        if not await self._arq.set(keys.lease(job_id), b"1", nx=True, px=HOLD_MS):
            self._left[RUNS] += 1
            return
        body, tries, score = await ask(
            self._arq,
            [("GET", keys.body(job_id)), ("GET", keys.tries(job_id)), ("ZSCORE", self._arq_queue, job_id)],
        )
        try:
            if score is None:
                raise CannotMove("it ended meanwhile")
            if body is None:
                raise CannotMove("its body has expired: Arq has lost it")
            name, text = converted(body, self._job_types)
            job_type = self._job_types.get(name)
            queue = job_type.queue if job_type else keys.DEFAULT_QUEUE
            if same_server:
                await self._rewrite(job_id, text, due_ms, queue)
            else:
                await self._put(job_id, name, text, due_ms, queue, tries)
        except CannotMove as reason:
            self._left[str(reason)] += 1
            await self._arq.delete(keys.lease(job_id))
            return
        self._moved[f"{name}{'' if job_type else ' (no job type here)'}"] += 1

    async def _rewrite(self, job_id: str, text: bytes, due_ms: int, queue: str) -> None:
        """On the same server: in one transaction."""
        async with self._arq.pipeline(transaction=True) as pipeline:
            pipeline.set(keys.body(job_id), text)
            pipeline.zrem(self._arq_queue, job_id)
            pipeline.zadd(keys.queue(queue), {job_id: due_ms})
            pipeline.delete(keys.lease(job_id))
            await pipeline.execute()

    async def _put(self, job_id: str, name: str, text: bytes, due_ms: int, queue: str, tries: bytes | None) -> None:
        """On another server: put first, by a run that was killed before the rest perhaps.

        Raises CannotMove if another job has its id there: apps give the ids of their own to one job after another.
        """
        there = self._target.redis
        if tries is not None and not await there.exists(keys.body(job_id), keys.result(job_id)):
            await there.set(keys.tries(job_id), tries)
        entry = Entry(job_id, name, text, timestamp_ms(), delay_ms=0, run_at_ms=due_ms, enforce=False)
        (answer,) = await self._queue(queue).script.put([entry], enforce=False)
        if answer.tag == b"exists" and not await self._is_there(job_id, text):
            raise CannotMove(ANOTHER)
        async with self._arq.pipeline(transaction=True) as pipeline:
            pipeline.zrem(self._arq_queue, job_id)
            pipeline.delete(keys.body(job_id), keys.tries(job_id), keys.lease(job_id))
            await pipeline.execute()

    async def _is_there(self, job_id: str, text: bytes) -> bool:
        """True if the job of that id is the one in `text`: of the same function, and enqueued at the same time."""
        known = await ask(self._target.redis, [("GET", keys.body(job_id)), ("GET", keys.result(job_id))])
        own, *others = (codec.readable_or_empty(one or b"") for one in (text, *known))
        return any(all(own[field] == other.get(field) for field in ("f", "et")) for other in others)

    def _queue(self, name: str) -> Queue:
        if name not in self._queues:
            self._queues[name] = Queue(self._target.redis, name=name, ended_ttl_s=self._result_ttl_s)
        return self._queues[name]
