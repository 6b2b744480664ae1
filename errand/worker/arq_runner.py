"""Runs a plain Arq function as stock Arq 0.28 does: its context, hooks, log lines, retries and results.

The rules are those of `arq.worker.Worker.run_job`; only claiming before and finishing after are the engine's own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import arq.worker
from arq.cron import CronJob
from arq.jobs import Deserializer, SerializationError, deserialize_job_raw, serialize_result
from arq.utils import args_to_string, ms_to_datetime, timestamp_ms, to_ms, truncate
from arq.worker import Function, JobExecutionFailed, Retry, RetryJob, Worker

from errand.leases.leases import FOR_EVER_MS, Claim, Finish
from errand.wire.codec import UNKNOWN
from errand.wire.indexes import type_word
from errand.wire.limits import LATEST_MS, NO_LIMITS, KeptLimits, may_have_limits

logger = logging.getLogger("arq.worker")


LATE_MS = 1200
"""From when on Arq's start line says how late a job is."""


Write = Callable[[Finish], Awaitable[None]]


@dataclass(slots=True)
class ReadJob:
    """What Arq's serialised job says."""

    claim: Claim
    function: str = UNKNOWN
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    job_try: int = 0
    enqueued_at_ms: int = 0
    started_at_ms: int = field(default_factory=timestamp_ms)
    limits: KeptLimits = NO_LIMITS

    @property
    def ref(self) -> str:
        return f"{self.claim.job_id}:{self.function}"

    @property
    def age_s(self) -> float:
        return (timestamp_ms() - self.enqueued_at_ms) / 1000


def read(worker: Worker, claim: Claim) -> tuple[ReadJob, Exception | None]:
    """The job in a claim; with it the error that ends it unstarted, where its body is gone or cannot be read."""
    job = ReadJob(claim, job_try=claim.job_try)
    if claim.body is None:
        logger.warning("job %s expired", claim.job_id)
        return job, JobExecutionFailed("job expired")
    deserializer = worker.job_deserializer
    if deserializer is not None and may_have_limits(claim.body):
        deserializer = _noting_limits(job, deserializer)
    try:
        job.function, job.args, job.kwargs, asked_try, job.enqueued_at_ms = deserialize_job_raw(
            claim.body, deserializer=deserializer
        )
    except SerializationError as error:
        logger.exception("deserializing job %s failed", claim.job_id)
        return job, error
    if not _makes_sense(job, asked_try):
        logger.warning("job %s has fields of wrong types", claim.job_id)
        return ReadJob(claim, job_try=claim.job_try), SerializationError("fields of wrong types")
    job.job_try = max(job.job_try, asked_try or 0)
    return job, None


def _noting_limits(job: ReadJob, deserializer: Deserializer) -> Deserializer:
    """Arq passes over what it does not know; the limits of a job are among that."""

    def deserialize(body: bytes) -> dict[str, Any]:
        record = deserializer(body)
        job.limits = KeptLimits.of(record)
        return record

    return deserialize


def _makes_sense(job: ReadJob, asked_try: object) -> bool:
    """A body may be anybody's: its fields are looked at before they are worked with."""
    kinds: list[tuple[object, type]] = [
        (job.function, str),
        (job.kwargs, dict),
        (job.enqueued_at_ms, int),
        (asked_try or 0, int),
    ]
    return all(isinstance(value, kind) for value, kind in kinds) and 0 <= job.enqueued_at_ms <= LATEST_MS


def unstarted(worker: Worker, job: ReadJob, error: BaseException) -> Finish:
    """The end of a job that is not run; Arq keeps its result as any other."""
    worker.jobs_failed += 1
    keep = worker.keep_result_forever, worker.keep_result_s
    return _end(worker, job, success=False, result=error, keep=keep)


def refusal(worker: Worker, job: ReadJob) -> BaseException | None:
    """Why Arq does not start this job: unknown function, tries used up; else None."""
    function = worker.functions.get(job.function)
    if function is None:
        logger.warning("job %s, function %r not found", job.claim.job_id, job.function)
        return JobExecutionFailed(f"function {job.function!r} not found")
    max_tries = job.limits.max_tries or (worker.max_tries if function.max_tries is None else function.max_tries)
    if job.job_try > max_tries:
        logger.warning("%6.2fs ! %s max retries %d exceeded", job.age_s, _ref(function, job), max_tries)
        return JobExecutionFailed(f"max {max_tries} retries exceeded")
    return None


async def run(worker: Worker, job: ReadJob, write: Write) -> None:
    """Runs the function with Arq's hooks around it and writes what became of it."""
    function = worker.functions[job.function]
    ctx = {
        **worker.ctx,
        "job_id": job.claim.job_id,
        "job_try": job.job_try,
        "enqueue_time": ms_to_datetime(job.enqueued_at_ms),
        "score": job.claim.due_at_ms,
    }
    if worker.on_job_start:
        await worker.on_job_start(ctx)
    job.started_at_ms = timestamp_ms()
    finish = await _outcome(worker, job, function, ctx)
    if worker.on_job_end:
        await worker.on_job_end(ctx)
    await asyncio.shield(write(finish))
    if worker.after_job_end:
        await worker.after_job_end(ctx)


async def _outcome(worker: Worker, job: ReadJob, function: Function | CronJob, ctx: dict[str, Any]) -> Finish:
    ref, job_id = _ref(function, job), job.claim.job_id
    try:
        _log_start(job, ref)
        timeout_s = worker.job_timeout_s if function.timeout_s is None else function.timeout_s
        worker.job_tasks[job_id] = task = worker.loop.create_task(function.coroutine(ctx, *job.args, **job.kwargs))
        try:
            result = await asyncio.wait_for(task, timeout_s)
        finally:
            del worker.job_tasks[job_id]
        # a result's repr can raise as well, and fails the job then
        shown = "" if result is None or not worker.log_results else truncate(repr(result))
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # all that a function raises is an outcome
        return _unsuccessful(worker, job, function, error)
    logger.info("%6.2fs ← %s ● %s", _ran_s(job), ref, shown)
    worker.jobs_complete += 1
    return _end(worker, job, success=True, result=result, keep=_keep(worker, function), function=function)


def _unsuccessful(worker: Worker, job: ReadJob, function: Function | CronJob, error: BaseException) -> Finish:
    """Arq's rules: `Retry` and cancellation run again, an abort and any other exception end the job."""
    ref, job_id = _ref(function, job), job.claim.job_id
    if worker.retry_jobs and isinstance(error, Retry):
        defer_ms = error.defer_score or 0
        logger.info("%6.2fs ↻ %s retrying job in %0.2fs", _ran_s(job), ref, defer_ms / 1000)
        worker.jobs_retried += 1
        return _again(job, function, due_in_ms=defer_ms)
    if job_id in worker.aborting_tasks and isinstance(error, asyncio.CancelledError):
        logger.info("%6.2fs ⊘ %s aborted", _ran_s(job), ref)
        worker.aborting_tasks.remove(job_id)
    elif worker.retry_jobs and isinstance(error, asyncio.CancelledError | RetryJob):
        logger.info("%6.2fs ↻ %s cancelled, will be run again", _ran_s(job), ref)
        worker.jobs_retried += 1
        return _again(job, function, due_in_ms=0)
    else:
        extra = getattr(error, "extra", None)
        extra = extra() if callable(extra) else extra
        message = "%6.2fs ! %s failed, %s: %s"
        logger.error(message, _ran_s(job), ref, type(error).__name__, error, exc_info=error, extra={"extra": extra})
    worker.jobs_failed += 1
    return _end(worker, job, success=False, result=error, keep=_keep(worker, function), function=function)


def _again(job: ReadJob, function: Function | CronJob, *, due_in_ms: int) -> Finish:
    claim = job.claim
    return Finish(
        job_id=claim.job_id,
        token=claim.token,
        status="deferred" if due_in_ms > 0 else "queued",
        due_in_ms=due_in_ms,
        keep_lease_ms=_keep_lease_ms(function),
    )


def _end(
    worker: Worker,
    job: ReadJob,
    *,
    success: bool,
    result: Any,
    keep: tuple[bool, float],
    function: Function | CronJob | None = None,
) -> Finish:
    for_ever, keep_s = keep
    claim = job.claim
    record = None
    if for_ever or keep_s > 0:
        record = serialize_result(
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
            worker.queue_name,
            job_id=claim.job_id,
            serializer=worker.job_serializer,
        )
    return Finish(
        job_id=claim.job_id,
        token=claim.token,
        # an abort's CancelledError is kept as the result, and read again as that of a cancelled job
        status="succeeded" if success else "cancelled" if isinstance(result, asyncio.CancelledError) else "failed",
        result=record,
        keep_result_ms=FOR_EVER_MS if for_ever else to_ms(keep_s),
        keep_lease_ms=_keep_lease_ms(function),
        type=type_word(job.function) if record else "",
    )


def _keep(worker: Worker, function: Function | CronJob) -> tuple[bool, float]:
    """(for ever, seconds)"""
    return (
        worker.keep_result_forever if function.keep_result_forever is None else function.keep_result_forever,
        worker.keep_result_s if function.keep_result_s is None else function.keep_result_s,
    )


def _keep_lease_ms(function: Function | CronJob | None) -> int:
    """A cron job's lease outlives it: a worker with a slow clock must not run it again."""
    keep_s: float = arq.worker.keep_cronjob_progress  # type: ignore[attr-defined]  # the value that arq itself goes by
    return int(keep_s * 1000) if isinstance(function, CronJob) else 0


def _ref(function: Function | CronJob, job: ReadJob) -> str:
    return job.function if isinstance(function, CronJob) else job.ref


def _ran_s(job: ReadJob) -> float:
    return (timestamp_ms() - job.started_at_ms) / 1000


def _log_start(job: ReadJob, ref: str) -> None:
    extra = f" try={job.job_try}" if job.job_try > 1 else ""
    late_ms = job.started_at_ms - job.claim.due_at_ms
    if late_ms > LATE_MS:
        extra += f" delayed={late_ms / 1000:0.2f}s"
    arguments = args_to_string(job.args, job.kwargs)
    logger.info("%6.2fs → %s(%s)%s", (job.started_at_ms - job.enqueued_at_ms) / 1000, ref, arguments, extra)
