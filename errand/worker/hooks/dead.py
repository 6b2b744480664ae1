"""Calls the hooks of dead jobs, once Redis keeps the job as dead.

The call that writes such an end also notes that the hooks are still to be called; the worker that has called them
removes that note. If the worker dies in between, another one finds it (`call_missed`): a hook is called at least once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from redis.asyncio import Redis

from errand.job.hooks import DeadHook, DeadJob, Hook, of_type
from errand.job.job_type import JobType
from errand.leases.leases import Finish
from errand.redis import script
from errand.wire import codec, keys
from errand.wire.records import JobFailed
from errand.worker.runners.claimed_job import ClaimedJob

log = structlog.get_logger("errand.worker")


MISSED_AFTER_S = 30.0
"""How long after the time that its hooks may take a dead job is another worker's."""


MAX_MISSED = 20
"""Dead jobs that one look takes over."""


class DeadHooks:
    """The hooks of the dead jobs of one worker."""

    def __init__(
        self, redis: Redis, hooks: Sequence[Hook], *, queue: str, job_types: Mapping[str, JobType[Any, Any]]
    ) -> None:
        self._redis = redis
        self._hooks = [hook for hook in hooks if isinstance(hook, DeadHook)]
        self._to_call = keys.dead_hooks(queue)
        self._queue = keys.queue_name(queue)
        self._job_types = job_types
        self._take_missed = script.load(redis, "worker/hooks/missed")
        self._expected: dict[int, tuple[Finish, DeadJob]] = {}
        """The dead jobs whose outcomes are being written, by the id of the outcome."""
        self._running: set[asyncio.Task[None]] = set()

    def expect(self, job: ClaimedJob, outcome: Finish) -> None:
        """Notes an outcome that is about to be written, if hooks are to be called when it has been."""
        if outcome.dead and of_type(self._hooks, job.function):
            outcome.hooks_take_ms = self._longest_ms(job.function)
            self._expected[id(outcome)] = (outcome, self._dead(job, outcome))

    def note(self, outcomes: Sequence[Finish], written: Sequence[bool]) -> None:
        """These outcomes were written, or dropped: then the job is not dead, and another worker has it."""
        if not self._expected:
            return
        for outcome, is_kept in zip(outcomes, written, strict=True):
            _, job = self._expected.pop(id(outcome), (None, None))
            if job is not None and is_kept:
                self._start(job)

    async def call_missed(self) -> None:
        """Calls the hooks of dead jobs whose workers have not: they died meanwhile. Raises redis' errors."""
        if not self._hooks:
            return
        longest_ms = max((self._longest_ms(name) for name in self._job_types), default=0)
        found: list[list[bytes | None]] = await self._take_missed(keys=[self._to_call], args=[MAX_MISSED, longest_ms])
        for job_id, record in found:
            assert job_id is not None
            # without its result it has been forgotten or replayed since
            if (job := self._dead_in(job_id, record or b"")) is not None:
                self._start(job)
            else:
                await self._redis.zrem(self._to_call, job_id)

    def _start(self, job: DeadJob) -> None:
        task = asyncio.ensure_future(self._call(job))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self, timeout_s: float) -> None:
        """Waits for those that run; they are cancelled after `timeout_s` seconds."""
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=timeout_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _call(self, job: DeadJob) -> None:
        """One after the other; one that fails keeps none from its turn."""
        for hook in of_type(self._hooks, job.type):
            try:
                async with asyncio.timeout(hook.limit_s):
                    await hook(job)
            except BaseException:
                # what else it raises (SystemExit, a cancel of its own making) is its fault as well: it would end this
                # worker, then the one that calls the hooks of this job in its place, and so on
                if _is_cancelled():
                    raise
                log.exception("a hook of a dead job failed", hook=hook.name, job_id=job.job_id, type=job.type)
        try:
            await self._redis.zrem(self._to_call, job.job_id)
        except Exception as error:  # noqa: BLE001  # Redis is away: they are called once more
            log.warning("that the hooks of a dead job were called is not noted", job_id=job.job_id, error=str(error))

    def _longest_ms(self, type_name: str) -> int:
        """After so long another worker may call the hooks of that type."""
        takes_s = sum(hook.limit_s for hook in of_type(self._hooks, type_name))
        return math.ceil((takes_s + MISSED_AFTER_S) * 1000)

    def _dead(self, job: ClaimedJob, outcome: Finish) -> DeadJob:
        fields = codec.loads(outcome.result or b"{}")
        return self._shown(job.claim.job_id, {**fields, "f": job.function, "k": job.named_args})

    def _shown(self, job_id: str, fields: Mapping[str, Any]) -> DeadJob:
        """Of the fields of its result."""
        job_type = self._job_types.get(fields["f"])
        return DeadJob(
            job_id=job_id,
            type=fields["f"],
            queue=self._queue,
            args=job_type.shown_args(fields["k"]) if job_type else fields["k"],
            attempt=fields["t"],
            enqueued_at=datetime.fromtimestamp(fields["et"] / 1000, UTC),
            error=fields["r"].error,
        )

    def _dead_in(self, job_id: bytes, record: bytes) -> DeadJob | None:
        """The job of a result, if it is that of a dead job. One that another program has written may say anything."""
        fields = codec.readable_or_empty(record)
        failure = fields.get("r")
        if not isinstance(failure, JobFailed) or failure.cancelled:
            return None
        try:
            return self._shown(job_id.decode(), fields)
        except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError):
            return None


def _is_cancelled() -> bool:
    """True if somebody has cancelled the task that runs."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
