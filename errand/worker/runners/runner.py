"""What runs a job: one protocol for job types and plain Arq functions, and the choice between the two."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

from arq.cron import CronJob
from arq.worker import Function, JobExecutionFailed, Worker

from errand.leases.leases import Finish
from errand.worker.runners.claimed_job import ClaimedJob

logger = logging.getLogger("arq.worker")


class Runner(Protocol):
    """Runs the jobs of one kind and decides what becomes of them."""

    def refusal(self, job: ClaimedJob) -> BaseException | None:
        """Why the job must not be started; None if it may be."""

    def unstarted(self, job: ClaimedJob, error: BaseException) -> Finish:
        """The end of a job that is not started because of `error`; a CancelledError cancels it."""

    async def run(self, job: ClaimedJob) -> Finish:
        """Makes one attempt at the job; returns what becomes of the job.

        Raises CancelledError if the worker stops it at a moment when it cannot say what becomes of the job.
        """

    async def finish(self, job: ClaimedJob, outcome: Finish) -> None:
        """Gives the outcome to the finisher."""


class Runners:
    """Chooses the runner of each job of one worker."""

    def __init__(
        self, worker: Worker, *, job_types: Collection[str], job_runner: Runner, arq_runner: Runner, unknown: Runner
    ) -> None:
        self._worker = worker
        self._job_types = job_types
        self._job_runner = job_runner
        self._arq_runner = arq_runner
        # a worker without job types keeps to Arq's ways, by which a job of an unknown function fails
        self._of_unknown = unknown if job_types else arq_runner

    def runner_of(self, job: ClaimedJob) -> Runner:
        """The runner of that job; one is also needed for a job that is unknown here, or cannot be read."""
        if job.function in self._job_types:
            return self._job_runner
        if job.function in self._worker.functions:
            return self._arq_runner
        return self._of_unknown


def refusal_by_arq(worker: Worker, job: ClaimedJob) -> JobExecutionFailed | None:
    """Why Arq does not start a job: its function is unknown, or its tries are used up. Arq knows job types too."""
    function = worker.functions.get(job.function)
    if function is None:
        logger.warning("job %s, function %r not found", job.claim.job_id, job.function)
        return JobExecutionFailed(f"function {job.function!r} not found")
    max_tries = job.limits.max_tries or (worker.max_tries if function.max_tries is None else function.max_tries)
    if job.job_try > max_tries:
        logger.warning("%6.2fs ! %s max retries %d exceeded", job.age_s, ref_of(function, job), max_tries)
        return JobExecutionFailed(f"max {max_tries} retries exceeded")
    return None


def ref_of(function: Function | CronJob, job: ClaimedJob) -> str:
    """The job in Arq's log lines: a cron job by its name alone."""
    return job.function if isinstance(function, CronJob) else job.ref
