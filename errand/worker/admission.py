"""Whether a claimed job is started now: cancelled, unreadable and expired jobs are not, and some must wait."""

from __future__ import annotations

import asyncio
import logging

from arq.worker import Worker

from errand.leases.leases import Claim
from errand.wire import keys
from errand.wire.limits import Expired
from errand.worker import needs
from errand.worker.aborts import Aborts
from errand.worker.crashes import Suspects
from errand.worker.runners.claimed_job import ClaimedJob
from errand.worker.runners.runner import Runner

arq_log = logging.getLogger("arq.worker")


class Admission:
    """Decides for one worker which of its claimed jobs are started."""

    def __init__(self, worker: Worker, *, aborts: Aborts, suspects: Suspects) -> None:
        self._worker = worker
        self._aborts = aborts
        self._suspects = suspects

    async def refusal(self, job: ClaimedJob, runner: Runner) -> BaseException | None:
        """Why the job must end without being started; None if it may be started. A CancelledError cancels it."""
        if job.claim.cancelled:
            return asyncio.CancelledError()
        if job.unreadable is not None:
            return job.unreadable
        if self._aborts.includes(job.claim.job_id, enqueued_at_ms=job.enqueued_at_ms):
            arq_log.info("%6.2fs ⊘ %s aborted before start", job.age_s, job.ref)
            await self._worker.pool.zrem(keys.ABORT, job.claim.job_id)
            return asyncio.CancelledError()
        refusal = _expired(job) or runner.refusal(job)
        if refusal is None and job.flow.needs is not None:
            refusal = await needs.refusal(self._worker.pool, job, job.flow.needs)
            if job.claim.cancelled:
                return asyncio.CancelledError()  # type: ignore[unreachable]  # a cancel has come meanwhile
        return refusal

    def must_wait(self, claim: Claim) -> bool:
        """True if the job is a suspect and another one runs for this process. Else `leave` must follow."""
        return claim.suspect and not self._suspects.admit(claim)

    def leave(self, claim: Claim) -> None:
        """The job runs no longer, or was not started."""
        self._suspects.leave(claim)


def _expired(job: ClaimedJob) -> Expired | None:
    """The error of a job whose first attempt would start after the time that its producer has set."""
    expires_at_ms = job.limits.expires_at_ms
    if expires_at_ms is not None and job.claim.first and expires_at_ms <= job.claim.claimed_at_ms:
        return Expired(expires_at_ms)
    return None
