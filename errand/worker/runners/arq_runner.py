"""Runs a plain Arq function as stock Arq 0.28 does: its context, hooks, log lines, retries and results.

The rules are those of `arq.worker.Worker.run_job`; only claiming before and finishing after are Errand's own.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import arq.worker
from arq.cron import CronJob
from arq.jobs import serialize_result
from arq.utils import args_to_string, ms_to_datetime, timestamp_ms, to_ms, truncate
from arq.worker import Function, Retry, RetryJob, Worker

from errand.leases.finisher import Finisher
from errand.leases.leases import FOR_EVER_MS, Finish
from errand.wire.indexes import type_word
from errand.worker.runners.claimed_job import ClaimedJob
from errand.worker.runners.runner import ref_of, refusal_by_arq

logger = logging.getLogger("arq.worker")


LATE_MS = 1200
"""Arq's start line says how late a job is if it is later than this."""


class ArqRunner:
    """The `Runner` of a worker's plain Arq functions and cron jobs."""

    def __init__(self, worker: Worker, finisher: Finisher) -> None:
        self._worker = worker
        self._finisher = finisher

    def refusal(self, job: ClaimedJob) -> BaseException | None:
        return refusal_by_arq(self._worker, job)

    def unstarted(self, job: ClaimedJob, error: BaseException) -> Finish:
        job.started_at_ms = timestamp_ms()
        return self._end(job, success=False, result=error)

    async def run(self, job: ClaimedJob) -> Finish:
        """Calls the function, with Arq's hooks before and after it. Raises what a hook raises."""
        worker, function = self._worker, self._worker.functions[job.function]
        job.hook_ctx = ctx = self._context(job)
        if worker.on_job_start:
            await worker.on_job_start(ctx)
        job.started_at_ms = timestamp_ms()
        finish = await self._attempt(job, function, ctx)
        if worker.on_job_end:
            await worker.on_job_end(ctx)
        return finish

    async def finish(self, job: ClaimedJob, outcome: Finish) -> None:
        """Returns when the outcome is written, and Arq's last hook has run if the job was started."""
        await asyncio.shield(self._finisher.write(outcome))
        if self._worker.after_job_end and job.hook_ctx is not None:
            await self._worker.after_job_end(job.hook_ctx)

    def _context(self, job: ClaimedJob) -> dict[str, Any]:
        return {
            **self._worker.ctx,
            "job_id": job.claim.job_id,
            "job_try": job.job_try,
            "enqueue_time": ms_to_datetime(job.enqueued_at_ms),
            "score": job.claim.due_at_ms,
        }

    async def _attempt(self, job: ClaimedJob, function: Function | CronJob, ctx: dict[str, Any]) -> Finish:
        worker, ref, job_id = self._worker, ref_of(function, job), job.claim.job_id
        try:
            _log_start(job, ref)
            timeout_s = worker.job_timeout_s if function.timeout_s is None else function.timeout_s
            worker.job_tasks[job_id] = task = worker.loop.create_task(function.coroutine(ctx, *job.args, **job.kwargs))
            try:
                result = await asyncio.wait_for(task, timeout_s)
            finally:
                del worker.job_tasks[job_id]
            # the repr of a result may raise too, which fails the job
            shown = "" if result is None or not worker.log_results else truncate(repr(result))
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  # all that a function raises is an outcome, SystemExit too
            return self._unsuccessful(job, function, error)
        logger.info("%6.2fs ← %s ● %s", _ran_s(job), ref, shown)
        return self._end(job, success=True, result=result, function=function)

    def _unsuccessful(self, job: ClaimedJob, function: Function | CronJob, error: BaseException) -> Finish:
        """Arq's rules: `Retry` and cancellation run again, an abort and any other exception end the job."""
        worker, ref, ran_s = self._worker, ref_of(function, job), _ran_s(job)
        if worker.retry_jobs and isinstance(error, Retry):
            logger.info("%6.2fs ↻ %s retrying job in %0.2fs", ran_s, ref, (error.defer_score or 0) / 1000)
            return _again(job, function, due_in_ms=error.defer_score or 0)
        if job.claim.job_id in worker.aborting_tasks and isinstance(error, asyncio.CancelledError):
            logger.info("%6.2fs ⊘ %s aborted", ran_s, ref)
            worker.aborting_tasks.remove(job.claim.job_id)
        elif worker.retry_jobs and isinstance(error, asyncio.CancelledError | RetryJob):
            logger.info("%6.2fs ↻ %s cancelled, will be run again", ran_s, ref)
            return _again(job, function, due_in_ms=job.claim.still_due_in_ms)
        else:
            extra = getattr(error, "extra", None)
            extra = extra() if callable(extra) else extra
            message = "%6.2fs ! %s failed, %s: %s"
            logger.error(message, ran_s, ref, type(error).__name__, error, exc_info=error, extra={"extra": extra})
        return self._end(job, success=False, result=error, function=function)

    def _end(
        self, job: ClaimedJob, *, success: bool, result: Any, function: Function | CronJob | None = None
    ) -> Finish:
        for_ever, keep_s = self._keep(function)
        record = self._record(job, success=success, result=result) if for_ever or keep_s > 0 else None
        return Finish(
            job_id=job.claim.job_id,
            token=job.claim.token,
            # an abort's CancelledError is kept as the result, and read again as that of a cancelled job
            status="succeeded" if success else "cancelled" if isinstance(result, asyncio.CancelledError) else "failed",
            result=record,
            keep_result_ms=FOR_EVER_MS if for_ever else to_ms(keep_s),
            keep_lease_ms=_keep_lease_ms(function),
            type=type_word(job.function) if record else "",
        )

    def _record(self, job: ClaimedJob, *, success: bool, result: Any) -> bytes | None:
        return serialize_result(
            job.function,
            job.args,
            job.kwargs,
            job.job_try,
            job.enqueued_at_ms,
            success,
            result,
            job.started_at_ms,
            timestamp_ms(),
            job.ref,
            self._worker.queue_name,
            job_id=job.claim.job_id,
            serializer=self._worker.job_serializer,
        )

    def _keep(self, function: Function | CronJob | None) -> tuple[bool, float]:
        """How long to keep the result: (for ever, seconds). A job that was not started goes by the worker's options."""
        for_ever, keep_s = self._worker.keep_result_forever, self._worker.keep_result_s
        if function is None:
            return for_ever, keep_s
        return (
            for_ever if function.keep_result_forever is None else function.keep_result_forever,
            keep_s if function.keep_result_s is None else function.keep_result_s,
        )


def _again(job: ClaimedJob, function: Function | CronJob, *, due_in_ms: int) -> Finish:
    return Finish(
        job_id=job.claim.job_id,
        token=job.claim.token,
        status="deferred" if due_in_ms > 0 else "queued",
        due_in_ms=due_in_ms,
        keep_lease_ms=_keep_lease_ms(function),
    )


def _keep_lease_ms(function: Function | CronJob | None) -> int:
    """A cron job's lease outlives it: a worker with a slow clock must not run it again."""
    keep_s: float = arq.worker.keep_cronjob_progress  # type: ignore[attr-defined]  # the value that arq itself goes by
    return int(keep_s * 1000) if isinstance(function, CronJob) else 0


def _ran_s(job: ClaimedJob) -> float:
    return (timestamp_ms() - job.started_at_ms) / 1000


def _log_start(job: ClaimedJob, ref: str) -> None:
    extra = f" try={job.job_try}" if job.job_try > 1 else ""
    late_ms = job.started_at_ms - job.claim.due_at_ms
    if late_ms > LATE_MS:
        extra += f" delayed={late_ms / 1000:0.2f}s"
    arguments = args_to_string(job.args, job.kwargs)
    logger.info("%6.2fs → %s(%s)%s", (job.started_at_ms - job.enqueued_at_ms) / 1000, ref, arguments, extra)
