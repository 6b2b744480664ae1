"""Writes outcomes in groups: those of one turn of the event loop, or that come during a write, share one call.

There is no timer: a single outcome is written at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate

import structlog

from errand.leases.leases import Finish, Leases
from errand.redis.outage import Outage

log = structlog.get_logger("errand.worker")


MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Of results in one call; a larger single result goes alone."""


CANCEL_S = 1.0
"""How long a write that is given up may take to end."""


MAX_BATCH = 500
"""Outcomes in one call. Redis answers nobody else during a script call, and this many take a few milliseconds."""


class Finisher:
    """Writes the outcomes of one worker to Redis; keeps them while Redis is away."""

    def __init__(self, leases: Leases, outage: Outage, *, done: Callable[[Sequence[Finish], Sequence[bool]], None]):
        """After each call `done` is given its outcomes, and for each whether it was written or dropped."""
        self._leases = leases
        self._outage = outage
        self._done = done
        self._waiting: list[Finish] = []
        self._writer: asyncio.Task[None] | None = None
        self._watched: dict[int, asyncio.Future[None]] = {}

    @property
    def idle(self) -> bool:
        """Nothing waits to be written."""
        return self._writer is None

    def writes(self, job_id: str) -> bool:
        """An outcome of that job waits to be written, or is being written."""
        return any(outcome.job_id == job_id for outcome in self._waiting)

    def put(self, outcome: Finish) -> None:
        """Takes an outcome and returns at once."""
        self._waiting.append(outcome)
        if self._writer is None:
            self._writer = asyncio.ensure_future(self._write())

    def note_written(self, outcome: Finish) -> None:
        """The outcome has been written by somebody else for this worker, or is being."""
        self._done([outcome], [True])

    async def write(self, outcome: Finish) -> None:
        """Takes an outcome; returns when it is written, or dropped."""
        written = asyncio.get_running_loop().create_future()
        self._watched[id(outcome)] = written
        self.put(outcome)
        await written

    async def drain(self, timeout_s: float) -> int:
        """Waits at most `timeout_s` seconds until everything is written; returns how many outcomes are not."""
        if self._writer is not None:
            await asyncio.wait([self._writer], timeout=timeout_s)
        if (writer := self._writer) is not None:
            writer.cancel()
            # waited for, so that the task does not outlive the worker; not for long: a cancellation may be swallowed
            await asyncio.wait([writer], timeout=CANCEL_S)
        return len(self._waiting)

    async def _write(self) -> None:
        try:
            while self._waiting:
                group = self._next_group()
                written = await self._written(group)
                del self._waiting[: len(group)]
                self._done(group, written)
                self._notify_waiters(group)
        finally:
            self._writer = None

    def _next_group(self) -> list[Finish]:
        """As many as one call may carry, by number and by size."""
        sizes = accumulate(_bytes_of(outcome) for outcome in self._waiting[:MAX_BATCH])
        fitting = sum(1 for size in sizes if size <= MAX_BATCH_BYTES)
        return self._waiting[: max(fitting, 1)]

    async def _written(self, group: Sequence[Finish]) -> Sequence[bool]:
        try:
            return await self._outage.outlast(partial(self._leases.finish, group))
        except Exception:
            # Redis understood and refused, so trying again would not help; the leases expire and the jobs run again
            log.exception("outcomes could not be written", job_ids=[outcome.job_id for outcome in group])
            return [False] * len(group)

    def _notify_waiters(self, group: Sequence[Finish]) -> None:
        for outcome in group if self._watched else ():
            watcher = self._watched.pop(id(outcome), None)
            if watcher is not None and not watcher.done():
                watcher.set_result(None)


def _bytes_of(outcome: Finish) -> int:
    follow_ups = sum(len(row.body) for row in outcome.follow_ups) if outcome.follow_ups else 0
    return len(outcome.result or b"") + follow_ups
