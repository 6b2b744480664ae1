"""What happens to a claimed job, from its claim to its finish: a task for each job, and one function that says it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Collection, Iterable
from functools import partial
from typing import Any

import structlog
from arq.worker import Worker

from errand.leases.finisher import Finisher
from errand.leases.heartbeat import Heartbeat
from errand.leases.leases import Claim, Claimed, Finish
from errand.leases.wakeups import Wakeups
from errand.redis.repair import repairing
from errand.worker.aborts import Aborts
from errand.worker.admission import Admission
from errand.worker.runners import claimed_job
from errand.worker.runners.claimed_job import ClaimedJob
from errand.worker.runners.runner import Runners

log = structlog.get_logger("errand.worker")


ANOTHER_SUSPECT_MS = (200, 600)
"""How long a suspect waits if another one runs; it costs no try."""


CANCELS_KEPT = 1_000
"""How many ids to cancel a worker remembers that it did not run then; a claim is under way for moments."""


class Executor:
    """Runs what one worker has claimed; its tasks are in `worker.tasks`, as Arq's are."""

    def __init__(
        self,
        worker: Worker,
        *,
        heartbeat: Heartbeat,
        admission: Admission,
        runners: Runners,
        finisher: Finisher,
        wakeups: Wakeups,
        aborts: Aborts,
    ) -> None:
        self._worker = worker
        self._heartbeat = heartbeat
        self._admission = admission
        self._runners = runners
        self._finisher = finisher
        self._wakeups = wakeups
        self._aborts = aborts
        self._unstarted: dict[str, Claim] = {}
        """Claimed jobs that are not started yet; a task that is cancelled before its first turn never runs a line."""
        self._ending: dict[str, set[asyncio.Task[Any]]] = {}
        """Attempts that were stopped as their job was claimed here again, and have not ended, by job id."""
        self._enqueued_at_ms: dict[str, int] = {}
        """When the jobs that run were enqueued, by job id."""
        self._cancels_of_others: dict[str, None] = {}
        """The latest ids to cancel that were not here: those of other workers, or of a claim that is still coming."""
        self._cancels_missed_s = -math.inf
        """Cancels of before this moment, on the monotonic clock, may not have been heard."""

    def start(self, claimed: Claimed) -> None:
        """Starts the jobs in the next turn of the loop, or once their leases are proved if they may have lapsed."""
        loop, heartbeat = self._worker.loop, self._heartbeat
        doubtful = heartbeat.may_have_lapsed(claimed) or self._may_be_cancelled(claimed)
        # sent after this turn, in which all of them become held
        proof = loop.create_task(heartbeat.prove()) if doubtful else None
        for claim in claimed.claims:
            earlier = self._stop_earlier(claim.job_id)
            heartbeat.hold(claim)
            self._unstarted[claim.job_id] = claim
            self._worker.tasks[claim.job_id] = loop.create_task(self._run(claim, proof, earlier))

    def _stop_earlier(self, job_id: str) -> Collection[asyncio.Task[Any]]:
        """Stops an attempt of the same job that runs here: its lease was lost, or Redis would not have given it again.

        Once the new claim is held, no heartbeat would find out. Returns those that have not ended.
        """
        task = self._worker.tasks.get(job_id)
        if task is not None:
            self._ending.setdefault(job_id, set()).add(task)
            task.add_done_callback(partial(self._note_end_of_earlier, job_id))
            self._heartbeat.give_up(job_id)
        return self._ending[job_id].copy() if job_id in self._ending else ()

    def _note_end_of_earlier(self, job_id: str, task: asyncio.Task[Any]) -> None:
        self._ending[job_id].discard(task)
        if not self._ending[job_id]:
            del self._ending[job_id]

    @property
    def ending(self) -> list[asyncio.Task[Any]]:
        """Attempts that were stopped, are in `worker.tasks` no more, and have not ended."""
        return [task for tasks in self._ending.values() for task in tasks]

    def _may_be_cancelled(self, claimed: Claimed) -> bool:
        """True if a cancel of one of them was heard before the answer, or may have been missed since it was asked for.

        Redis knows whether there is one, and for us.
        """
        if claimed.asked_s <= self._cancels_missed_s:
            return True
        others = self._cancels_of_others
        cancelled = others.keys() & {claim.job_id for claim in claimed.claims} if others else set[str]()
        for job_id in cancelled:
            del others[job_id]
        return bool(cancelled)

    async def _run(
        self, claim: Claim, proof: asyncio.Task[bool] | None, earlier: Collection[asyncio.Task[Any]]
    ) -> None:
        """The whole story of one claimed job. Whatever goes wrong in it concerns this job alone.

        If there is a `proof`, the job is started only if it says that the lease is still ours; if there are `earlier`
        attempts, once they have ended: two never run in one process.
        """
        try:
            if earlier:
                await asyncio.wait(earlier)
            if proof is not None and not await asyncio.shield(proof):
                self._finisher.put(claim.handed_back())
                return
            job = self._read(claim)
            runner = self._runners.runner_of(job)
            refusal = await self._admission.refusal(job, runner)
            self._unstarted.pop(claim.job_id, None)
            if refusal is not None:
                outcome = runner.unstarted(job, refusal)
            elif job.flow.needs is not None and self._heartbeat.are_doubtful:
                # silent while it read how those had ended: others may have run the job by now
                self._finisher.put(claim.handed_back())
                return
            elif self._admission.must_wait(claim):
                self._finisher.put(claim.handed_back(due_in_ms=random.randint(*ANOTHER_SUSPECT_MS)))  # noqa: S311
                return
            else:
                outcome = await runner.run(job)
            self._count(outcome)
            await runner.finish(job, outcome)
        except Exception as error:
            log.exception("a job could not be handled", job_id=claim.job_id)
            self._end_unhandled(claim, error)
        except BaseException:
            self._give_away(claim)
            raise
        finally:
            self._leave(claim)

    def _read(self, claim: Claim) -> ClaimedJob:
        job = claimed_job.read(claim, self._worker.job_deserializer)
        self._enqueued_at_ms[claim.job_id] = job.enqueued_at_ms
        if claim.lost:
            self._heartbeat.count("attempts:lost")
            log.warning("attempt lost", job_id=claim.job_id, attempt=claim.job_try - 1)
        return job

    def _count(self, outcome: Finish) -> None:
        """Arq's three numbers."""
        if outcome.due_in_ms is not None:
            self._worker.jobs_retried += 1
        elif outcome.status == "succeeded":
            self._worker.jobs_complete += 1
        else:
            self._worker.jobs_failed += 1

    def _end_unhandled(self, claim: Claim, error: Exception) -> None:
        """A job with which something went wrong outside of its function: claimed again while it has tries left."""
        if not self._heartbeat.holds(claim):
            return  # its outcome is written: Arq's last hook raised
        if claim.job_try < self._worker.max_tries:
            self._heartbeat.let_go(claim.job_id, claim.token)  # the lease runs out and the job is claimed again
            return
        claim.attempts.clear()  # they may be what could not be handled
        job = ClaimedJob(claim, job_try=claim.job_try)
        outcome = self._runners.runner_of(job).unstarted(job, error)
        self._count(outcome)
        self._finisher.put(outcome)

    def _give_away(self, claim: Claim) -> None:
        """Something cancelled the job outside of its function, or it raised what ends a task: others are to have it."""
        if self._unstarted.get(claim.job_id) is claim and self._heartbeat.holds(claim):
            self._finisher.put(claim.handed_back())
        else:
            # nobody will write an outcome, and a lease that is renewed would keep the job from all other workers
            self._heartbeat.let_go(claim.job_id, claim.token)

    def _leave(self, claim: Claim) -> None:
        """The job's slot is free, unless a later claim of the same job has taken it."""
        worker, job_id = self._worker, claim.job_id
        if worker.tasks.get(job_id) is asyncio.current_task():
            del worker.tasks[job_id]
            self._unstarted.pop(job_id, None)
            self._enqueued_at_ms.pop(job_id, None)
        worker.aborting_tasks.discard(job_id)
        self._admission.leave(claim)
        self._wakeups.make_room()

    # --- stopping jobs

    def hand_back_unstarted(self) -> None:
        """Gives jobs that are claimed and not started back to the queue, with their tries."""
        for job_id, claim in self._unstarted.items():
            self._finisher.put(claim.handed_back())
            self._worker.tasks.pop(job_id).cancel()
        self._unstarted.clear()

    async def look_for_aborts(self) -> None:
        """Cancels the running jobs that a stock client wants to abort. Raises redis' errors."""
        redis, running = self._worker.pool, self._enqueued_at_ms
        look = partial(self._aborts.look, redis, running=running)
        self.cancel(await repairing(redis, self._worker.queue_name, look))

    def note_missed_cancels(self) -> None:
        """Cancels may have been missed until now: of jobs, too, whose claim is still under way."""
        self._cancels_missed_s = time.monotonic()

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Ends those of the jobs that run here, as cancelled."""
        worker = self._worker
        for job_id in job_ids:
            if job_id not in worker.tasks:
                self._note_cancel_of_other(job_id)
            elif job_id in self._unstarted:
                self._unstarted[job_id].cancelled = True  # its admission sees that
            elif job_id not in worker.aborting_tasks:
                worker.aborting_tasks.add(job_id)
                (worker.job_tasks.get(job_id) or worker.tasks[job_id]).cancel()

    def _note_cancel_of_other(self, job_id: str) -> None:
        others = self._cancels_of_others
        others[job_id] = None
        if len(others) > CANCELS_KEPT:
            del others[next(iter(others))]

    def stop(self, job_id: str) -> bool:
        """Stops the attempt of a job whose lease was lost; returns False if none runs here, or it is over.

        If its outcome is being written, the write ends the lease, or finds that it was lost: a heartbeat that reaches
        Redis in between cannot say which, and Arq's last hook is still to be called.
        """
        task = self._worker.tasks.get(job_id)
        if task is None or self._finisher.writes(job_id):
            return False
        task.cancel()
        return True
