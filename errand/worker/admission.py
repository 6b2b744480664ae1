"""Whether a claimed job is run, and what becomes of it where it is not."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any

from arq.worker import Worker

from errand.job.control import Crashed
from errand.job.job_type import JobType
from errand.leases.leases import Claim, Finish
from errand.wire import keys
from errand.wire.limits import Expired
from errand.wire.records import Error
from errand.worker import arq_runner as arq_function
from errand.worker.aborts import Aborts
from errand.worker.crashes import Suspects
from errand.worker.job_runner import JobRunner

arq_log = logging.getLogger("arq.worker")


ANOTHER_SUSPECT_MS = (200, 600)
"""How long a job on its last chance waits where another of its kind runs."""


class Admission:
    """Decides for one worker: cancelled and aborted jobs, refused ones, and those that may end the process wait."""

    def __init__(
        self,
        worker: Worker,
        *,
        job_types: Mapping[str, JobType[Any, Any]],
        runs: JobRunner,
        aborts: Aborts,
        suspects: Suspects,
        max_crashes: int,
    ) -> None:
        self._worker = worker
        self._job_types = job_types
        self._runs = runs
        self._aborts = aborts
        self._suspects = suspects
        self._max_crashes = max_crashes

    async def outcome_unless_run(self, job: arq_function.ReadJob, unreadable: Exception | None) -> Finish | None:
        """What becomes of a job that is not to be run; None where it is.

        `unreadable`: why its body says nothing. To be followed by `leave`.
        """
        if self._is_cancelled(job.claim):
            return self.unstarted(job, asyncio.CancelledError())
        if unreadable is None and self._aborts.includes(job.claim.job_id, enqueued_at_ms=job.enqueued_at_ms):
            arq_log.info("%6.2fs ⊘ %s aborted before start", job.age_s, job.ref)
            await self._worker.pool.zrem(keys.ABORT, job.claim.job_id)
            return self.unstarted(job, asyncio.CancelledError())
        if refused := unreadable or self._refusal(job):
            return self.unstarted(job, refused)
        if self._is_on_its_last_chance(job.claim) and not self._suspects.admit(job.claim.job_id):
            return job.claim.handed_back(due_in_ms=random.randint(*ANOTHER_SUSPECT_MS))  # noqa: S311
        return None

    def leave(self, job_id: str) -> None:
        """That job is not run any more, or was not."""
        self._suspects.leave(job_id)

    def unstarted(self, job: arq_function.ReadJob, error: BaseException) -> Finish:
        """The end of a job that is not run."""
        if not self._job_types:
            return arq_function.unstarted(self._worker, job, error)
        self._worker.jobs_failed += 1
        if isinstance(error, asyncio.CancelledError):
            return self._runs.unstarted(job, Error("Cancel", "aborted before it started"), cancelled=True)
        return self._runs.unstarted(job, Error.of(error, with_traceback=False))

    def _is_cancelled(self, claim: Claim) -> bool:
        return claim.cancelled or claim.job_id in self._worker.aborting_tasks

    def _is_on_its_last_chance(self, claim: Claim) -> bool:
        return claim.crashes > 0 and claim.crashes == self._max_crashes - 1

    def _refusal(self, job: arq_function.ReadJob) -> BaseException | None:
        expires_at_ms = job.limits.expires_at_ms
        if expires_at_ms is not None and job.claim.first and expires_at_ms <= job.claim.claimed_at_ms:
            return Expired(expires_at_ms)
        if job.function in self._job_types and job.claim.crashes >= self._max_crashes:
            return Crashed(job.claim.crashes)
        return arq_function.refusal(self._worker, job)
