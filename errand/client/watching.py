"""Waits for the end of jobs, and follows their changes: what Redis publishes is a hint, and the job is read again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import cast

from arq.connections import ArqRedis

from errand.events.change import Change
from errand.events.cursor import Position, position_in
from errand.events.feed import JobFeed
from errand.events.listener import JobEvents
from errand.events.watcher import EventFilter, Watcher
from errand.job.producing.producer import JobUpdate
from errand.monitor.job_snapshot import ENDS, JobSnapshot, Status, read_job, read_job_in_history
from errand.redis.outage import REDIS_DEADLINE_S, within
from errand.wire import keys

FIRST_LOOK_S, LAST_LOOK_S = 1.0, 8.0
"""A waiter reads the job again after the first time, then after twice as long each time, up to the last."""


MAX_WATCHERS = 10_000
"""Of one program; each costs a list and a task."""


class Watching:
    """The changes of the jobs of one queue, for one program. From the first wait on it takes one connection."""

    def __init__(self, redis: ArqRedis, queue: str) -> None:
        self._redis = redis
        self._queue = keys.queue(queue)
        self._events = JobEvents(redis, queues=[self._queue])
        self._feed = JobFeed(redis, events=self._events, queues=[self._queue], max_watchers=MAX_WATCHERS)
        self._listening = AsyncExitStack()
        self._is_open = False

    async def close(self) -> None:
        """Ends all waits."""
        self._feed.end_all("stopping")
        await self._listening.aclose()

    async def end_of(self, job_id: str) -> JobSnapshot | None:
        """Waits for the end of the job. Returns None if it is unknown. Raises redis' errors."""
        job = await self.read(job_id)
        if job is None or job.ended:
            return job
        await self._open()
        async with self._events.end_of(job_id) as ended:
            return await self._ended(job_id, ended)

    async def read(self, job_id: str) -> JobSnapshot | None:
        """The job as it is now; None if it is unknown."""
        return await within(REDIS_DEADLINE_S, read_job(self._redis, job_id, queues=[self._queue]))

    async def _ended(self, job_id: str, ended: asyncio.Event) -> JobSnapshot | None:
        look_s = FIRST_LOOK_S
        while True:
            # before the look: an end that is published while it lasts must not be forgotten
            ended.clear()
            job = await self.read(job_id)
            if job is None or job.ended:
                return job
            try:
                await asyncio.wait_for(ended.wait(), look_s)
            except TimeoutError:
                look_s = min(look_s * 2, LAST_LOOK_S)

    async def changes_of(self, job_id: str) -> AsyncGenerator[JobUpdate, None]:
        """Yields the job's status now, then each change until its end. Yields nothing for an unknown job.

        After a gap, such as an outage, it goes on with the status as it is then. Raises redis' errors.
        """
        await self._open()
        while True:
            watcher = await self._feed.admit(EventFilter(job_id=job_id))
            try:
                job, positions = await self._read_in_history(job_id)
                if job is None:
                    return
                yield JobUpdate(status=job.status, attempt=job.attempt, progress=job.progress)
                if job.ended:
                    return
                async with aclosing(self._until_end(job_id, watcher, positions)) as following:
                    async for event in following:
                        yield event
                        if event.status in ENDS:
                            return
                if watcher.ended == "stopping":
                    return
            finally:
                await self._feed.dismiss(watcher)

    async def _until_end(
        self, job_id: str, watcher: Watcher, positions: Mapping[str, Position]
    ) -> AsyncGenerator[JobUpdate, None]:
        async with aclosing(self._changes(watcher, positions)) as changes:
            async for change in changes:
                if change is not None:
                    yield _event_of(change)
                    continue
                # its worker may publish nothing, if it is a stock one
                job = await self.read(job_id)
                if job is None or job.ended:
                    return

    async def _changes(
        self, watcher: Watcher, positions: Mapping[str, Position]
    ) -> AsyncGenerator[Change | None, None]:
        """Each change; None if none has come for a while."""
        async for slice_ in self._feed.follow(watcher, positions):
            for change, _ in slice_:
                yield change
        while not watcher.ended:
            batches = await watcher.take()
            if not batches:
                yield None
            for batch in batches:
                for change in batch.changes:
                    yield change

    async def _read_in_history(self, job_id: str) -> tuple[JobSnapshot | None, dict[str, Position]]:
        """The job, and the position after which its changes are not in it yet."""
        reading = read_job_in_history(self._redis, job_id, queues=[self._queue])
        job, raw = await within(REDIS_DEADLINE_S, reading)
        positions = {name: position_in(at.decode()) for name, at in raw.items()}
        await self._feed.covers(positions)
        return job, positions

    async def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            await self._listening.enter_async_context(self._events.listening())


def _event_of(change: Change) -> JobUpdate:
    status = "in_progress" if change.progress else cast(Status, change.kind)
    return JobUpdate(status=status, attempt=change.attempt, progress=change.progress)
