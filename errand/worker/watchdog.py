"""Sees from a thread of its own that a job blocks the event loop, says where, and keeps the worker's leases meanwhile.

Nothing else of a worker runs while a job blocks its loop: no heartbeat, no time limit. The thread renews the leases of
all jobs that are within their limits, and ends the attempt that is past its own. It needs the interpreter for that:
native code that does not let other threads run stops it as well.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import traceback
from contextvars import Context
from types import FrameType
from typing import Any

import structlog
from arq.worker import Worker
from redis.asyncio import Redis

from errand.leases.heartbeat import Heartbeat
from errand.leases.leases import Finish, Leases
from errand.redis.redis_py import copy_of
from errand.wire import fingerprint
from errand.wire.records import Block
from errand.worker.loop_lag import LoopLag
from errand.worker.runners.attempt import run as attempt_run
from errand.worker.runners.job_runner import JobRunner
from errand.worker.runners.under_way import IN_ATTEMPT, UnderWay

log = structlog.get_logger("errand.worker")


LOOK_EVERY_S = 0.25


BLOCKED_S = 1.0
"""A loop that is so late is blocked; shorter delays are seen in its lag alone. Less with leases under three seconds."""


REPLY_TIMEOUT_S = 2.0


LINES_OF_STACK = 12
"""The innermost ones are logged."""


class Watchdog:
    """The thread that watches the loop of one worker."""

    def __init__(
        self,
        worker: Worker,
        *,
        queue: str,
        name: str,
        lease_s: float,
        lag: LoopLag,
        heartbeat: Heartbeat,
        runner: JobRunner,
    ) -> None:
        self._worker = worker
        self._queue = queue
        self._name = name
        self._lease_s = lease_s
        self._lag = lag
        self._heartbeat = heartbeat
        self._runner = runner
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._watched_thread = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._blocked_s = min(BLOCKED_S, lease_s / 3)
        self._seen: asyncio.Task[Any] | None = None
        """The task that ran at the last look."""
        self._said: UnderWay | None = None
        self._counted_ms = 0

    def start(self) -> None:
        """Watches the running loop, in this thread, until `stop`."""
        self._loop, self._watched_thread = asyncio.get_running_loop(), threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, at its next look."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.is_set():
            slept_s = time.monotonic()
            self._ended.wait(LOOK_EVERY_S)
            # if this thread was late as well, the process was paused, or the machine has no time for it
            paused = time.monotonic() - slept_s > self._blocked_s
            if not paused and self._is_blocked:
                self._attend()

    @property
    def _is_blocked(self) -> bool:
        return self._lag.late_s > self._blocked_s

    def _attend(self) -> None:
        try:
            asyncio.run(self._while_blocked())
        except Exception as error:  # noqa: BLE001  # Redis is away, say; the next look tries again
            log.warning("the leases of a blocked worker could not be renewed", error=str(error))

    async def _while_blocked(self) -> None:
        pool = copy_of(self._worker.pool.connection_pool, reply_timeout_s=REPLY_TIMEOUT_S)
        async with Redis.from_pool(pool) as redis:
            visible = bool(self._runner.job_types)
            leases = Leases(redis, queue=self._queue, worker=self._name, lease_s=self._lease_s, visible=visible)
            renew_s = 0.0
            while self._is_blocked and not self._ended.is_set():
                blocked = self._look()
                if time.monotonic() >= renew_s:
                    renew_s = time.monotonic() + leases.interval_s
                    await leases.renew(self._within_limits(), self._counts(blocked))
                if blocked is not None and blocked.ctx.clock.overdue_s > 0:
                    await self._end(leases, blocked)
                await asyncio.sleep(LOOK_EVERY_S)
            if self._said is not None:
                await leases.renew({}, self._counts(self._said))
                log.warning("the event loop runs again", job_id=self._said.job.claim.job_id)
        self._seen, self._said, self._counted_ms = None, None, 0

    def _look(self) -> UnderWay | None:
        """The attempt that blocks the loop, if that is known; notes for how long, and where."""
        assert self._loop is not None
        task, seen, late_s = asyncio.current_task(self._loop), self._seen, self._lag.late_s
        self._seen = task
        frame = sys._current_frames().get(self._watched_thread)
        # the same as a moment ago, else it is one of many that the machine is slow with
        if task is None or task is not seen or frame is None:
            return None
        under_way = self._attempt_of(task)
        if under_way is not None:
            frames = _frames_of_job(frame)
            under_way.blocked = Block(for_ms=int(late_s * 1000), at=_position(frames))
            if self._said is not under_way:
                self._say(under_way, frames)
        return under_way

    def _attempt_of(self, task: asyncio.Task[Any]) -> UnderWay | None:
        """The attempt that the task was started by, if it is one of this worker's and still runs."""
        under_way = _context_of(task).get(IN_ATTEMPT)
        return under_way if under_way is not None and id(under_way) in self._runner.under_way else None

    def _say(self, under_way: UnderWay, frames: list[FrameType]) -> None:
        self._said, block = under_way, under_way.blocked
        assert block is not None
        log.error(
            "a job blocks the event loop: all others of this worker wait",
            job_id=under_way.job.claim.job_id,
            type=under_way.job.function,
            blocked_s=block.for_ms / 1000,
            at=block.at,
            stack="".join(traceback.format_list([_summary(frame) for frame in frames[-LINES_OF_STACK:]])),
        )

    def _within_limits(self) -> dict[str, str]:
        """The leases to renew. A job past its time limit is for another worker."""
        held, limited = self._heartbeat.held, set[str]()
        for one in list(self._runner.under_way.values()):
            limited.add(one.job.claim.job_id)
            if one.ctx.clock.overdue_s > 0:
                held.pop(one.job.claim.job_id, None)
        if self._lag.late_s < self._worker.job_timeout_s:
            return held
        # a plain Arq function, which has the worker's limit
        return {job_id: token for job_id, token in held.items() if job_id in limited}

    def _counts(self, blocked: UnderWay | None) -> dict[str, int]:
        if blocked is None or blocked.blocked is None:
            return {}
        more_ms, self._counted_ms = blocked.blocked.for_ms - self._counted_ms, blocked.blocked.for_ms
        return {f"blocked_ms:{blocked.job.function}": more_ms}

    async def _end(self, leases: Leases, blocked: UnderWay) -> None:
        finish = self._runner.end_overtime(blocked)
        if finish is None:
            return
        written = False
        try:
            (written,) = await leases.finish([finish])
        finally:
            if not written:
                self._leave_to_loop(finish)
        if written:
            log.error(
                "a job that blocks the event loop is past its limit: the attempt has timed out", job_id=finish.job_id
            )

    def _leave_to_loop(self, finish: Finish) -> None:
        """Redis is away, or the lease is lost: the loop writes it when it runs, and counts it if it is dropped."""
        assert self._loop is not None
        try:
            self._runner.early.remove(id(finish))
        except KeyError:  # it runs by now, and trusted this thread
            self._loop.call_soon_threadsafe(self._runner.finisher.put, finish)


def _context_of(task: asyncio.Task[Any]) -> Context:
    if sys.version_info >= (3, 12):
        return task.get_context()
    # Python 3.11 has no name for it; the first that a task refers to is its own
    return next(found for found in gc.get_referents(task) if isinstance(found, Context))


def _frames_of_job(innermost: FrameType) -> list[FrameType]:
    """The frames from the job function on, outermost first; all, if a task that the job has started blocks the loop."""
    frames: list[FrameType] = []
    frame: FrameType | None = innermost
    while frame is not None and frame.f_code is not attempt_run.__code__:
        frames.insert(0, frame)
        frame = frame.f_back
    return frames


def _position(frames: list[FrameType]) -> str:
    frame = fingerprint.innermost_own(frames) or frames[-1]
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def _summary(frame: FrameType) -> traceback.FrameSummary:
    return traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name)
