"""The jobs that a worker has claimed: a task for each, from its bytes to its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from arq.worker import Worker

from errand.job.job_type import JobType
from errand.leases.finisher import Finisher
from errand.leases.heartbeat import Heartbeat
from errand.leases.leases import Claim, Claimed, Finish
from errand.leases.wakeups import Wakeups
from errand.worker import arq_runner as arq_function
from errand.worker.aborts import Aborts
from errand.worker.admission import Admission
from errand.worker.job_runner import JobRunner

log = structlog.get_logger("errand.worker")


class Executor:
    """Runs what one worker has claimed; the tasks are where Arq has them, in `worker.tasks`."""

    def __init__(
        self,
        worker: Worker,
        *,
        job_types: Mapping[str, JobType[Any, Any]],
        held: Heartbeat,
        admission: Admission,
        runs: JobRunner,
        finisher: Finisher,
        wakeups: Wakeups,
        aborts: Aborts,
    ) -> None:
        self._worker = worker
        self._job_types = job_types
        self._held = held
        self._admission = admission
        self._runs = runs
        self._finisher = finisher
        self._wakeups = wakeups
        self._aborts = aborts
        self._unstarted: dict[str, Claim] = {}
        """Claimed jobs whose tasks have not had their first turn: cancelled now, those would never run a line."""
        self._enqueued_at_ms: dict[str, int] = {}
        """When the jobs that run were enqueued, by job id."""

    def start(self, claimed: Claimed) -> None:
        """Begins them, each in the next turn of the loop, or when their leases have been proved."""
        proof = self._worker.loop.create_task(self._held.prove()) if self._held.may_have_lapsed(claimed) else None
        for claim in claimed.claims:
            self._held.hold(claim)
            self._unstarted[claim.job_id] = claim
            self._worker.tasks[claim.job_id] = self._worker.loop.create_task(self._run(claim, proof))

    def hand_back_unstarted(self) -> None:
        """Gives back what has been claimed and not started, with its tries."""
        for job_id, claim in self._unstarted.items():
            self._finisher.put(claim.handed_back())
            self._worker.tasks.pop(job_id).cancel()
        self._unstarted.clear()

    async def look_for_aborts(self) -> None:
        """Cancels the running jobs that a stock client wants to abort. Raises redis' errors."""
        self.cancel(await self._aborts.look(self._worker.pool, running=self._enqueued_at_ms))

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Ends those of the jobs that run here as cancelled."""
        worker = self._worker
        for job_id in job_ids:
            if job_id in worker.tasks and job_id not in worker.aborting_tasks:
                worker.aborting_tasks.add(job_id)
                if job_id not in self._unstarted:  # it will see that it is cancelled
                    (worker.job_tasks.get(job_id) or worker.tasks[job_id]).cancel()

    def stop(self, job_id: str) -> bool:
        """Stops an attempt whose lease is another's; False where none runs."""
        task = self._worker.tasks.get(job_id)
        if task is None:
            return False
        task.cancel()
        return True

    async def _run(self, claim: Claim, proof: asyncio.Task[bool] | None) -> None:
        """One claimed job, from its bytes to its outcome; whatever goes wrong here is this job's matter alone.

        Where there is a `proof`, it begins once that says that the lease is still ours.
        """
        try:
            if proof is not None and not await asyncio.shield(proof):
                self._finisher.put(claim.handed_back())
                return
            job, unreadable = self._begin(claim)
            outcome = await self._admission.outcome_unless_run(job, unreadable)
            if outcome is None:
                await self._attempt(job)
            else:
                self._finisher.put(outcome)
        except Exception as error:
            log.exception("a job could not be handled", job_id=claim.job_id)
            self._end_unhandled(claim, error)
        except asyncio.CancelledError:
            # cancelled outside of its function, by an abort or a drain: nobody will write an outcome
            self._held.let_go(claim.job_id, claim.token)
            raise
        finally:
            self._leave(claim.job_id)

    def _begin(self, claim: Claim) -> tuple[arq_function.ReadJob, Exception | None]:
        self._unstarted.pop(claim.job_id, None)
        job, unreadable = arq_function.read(self._worker, claim)
        self._enqueued_at_ms[claim.job_id] = job.enqueued_at_ms
        if claim.lost and self._job_types:
            log.warning("attempt lost", job_id=claim.job_id, attempt=claim.job_try - 1)
        return job, unreadable

    async def _attempt(self, job: arq_function.ReadJob) -> None:
        job_type = self._job_types.get(job.function)
        if job_type is None:
            await arq_function.run(self._worker, job, self._finisher.write)
            return
        outcome = await self._runs.run(job_type, job, self._worker.aborting_tasks)
        self._count(outcome)
        self._finisher.put(outcome)

    def _end_unhandled(self, claim: Claim, error: Exception) -> None:
        """What cannot even be decided on is claimed again while it may be, then ends as failed."""
        if not self._job_types or claim.job_try < self._worker.max_tries:
            self._held.let_go(claim.job_id, claim.token)  # the lease runs out and it is claimed again
            return
        claim.attempts.clear()
        self._finisher.put(self._admission.unstarted(arq_function.ReadJob(claim, job_try=claim.job_try), error))

    def _leave(self, job_id: str) -> None:
        """Its slot is free; a later claim of the same job may have taken another by now."""
        worker = self._worker
        if worker.tasks.get(job_id) is asyncio.current_task():
            del worker.tasks[job_id]
            self._unstarted.pop(job_id, None)
            self._enqueued_at_ms.pop(job_id, None)
        worker.aborting_tasks.discard(job_id)
        self._admission.leave(job_id)
        self._wakeups.make_room()

    def _count(self, outcome: Finish) -> None:
        """Arq's three numbers."""
        if outcome.due_in_ms is not None:
            self._worker.jobs_retried += 1
        elif outcome.status == "succeeded":
            self._worker.jobs_complete += 1
        else:
            self._worker.jobs_failed += 1
