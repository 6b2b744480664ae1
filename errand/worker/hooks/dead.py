"""Calls the hooks of dead jobs, once Redis keeps the job as dead."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from errand.job.hooks import DeadHook, DeadJob, Hook, of_type
from errand.job.job_type import JobType
from errand.leases.leases import Finish
from errand.wire import codec, keys
from errand.worker.runners.claimed_job import ClaimedJob

log = structlog.get_logger("errand.worker")


class DeadHooks:
    """The hooks of the dead jobs of one worker."""

    def __init__(self, hooks: Sequence[Hook], *, queue: str, job_types: Mapping[str, JobType[Any, Any]]) -> None:
        self._hooks = [hook for hook in hooks if isinstance(hook, DeadHook)]
        self._queue = keys.queue_name(queue)
        self._job_types = job_types
        self._expected: dict[int, tuple[Finish, DeadJob]] = {}
        """The dead jobs whose outcomes are being written, by the id of the outcome."""
        self._running: set[asyncio.Task[None]] = set()

    def expect(self, job: ClaimedJob, outcome: Finish) -> None:
        """Notes an outcome that is about to be written, if hooks are to be called when it has been."""
        if outcome.dead and of_type(self._hooks, job.function):
            self._expected[id(outcome)] = (outcome, self._dead(job, outcome))

    def note(self, outcomes: Sequence[Finish], written: Sequence[bool]) -> None:
        """These outcomes were written, or dropped: then the job is not dead, and another worker has it."""
        if not self._expected:
            return
        for outcome, is_kept in zip(outcomes, written, strict=True):
            _, job = self._expected.pop(id(outcome), (None, None))
            if job is not None and is_kept:
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
            except Exception:
                log.exception("a hook of a dead job failed", hook=hook.name, job_id=job.job_id, type=job.type)

    def _dead(self, job: ClaimedJob, outcome: Finish) -> DeadJob:
        job_type = self._job_types.get(job.function)
        return DeadJob(
            job_id=job.claim.job_id,
            type=job.function,
            queue=self._queue,
            args=job_type.shown_args(job.named_args) if job_type else job.named_args,
            attempt=job.job_try,
            enqueued_at=datetime.fromtimestamp(job.enqueued_at_ms / 1000, UTC),
            error=codec.loads(outcome.result or b"{}")["r"].error,
        )
