"""An attempt within its span; what is logged meanwhile names the trace, and the request in which the job was put."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from structlog.contextvars import bind_contextvars, bound_contextvars, reset_contextvars

from errand.tracing import current
from errand.tracing.attempts import OfAttempt
from errand.wire import keys
from errand.wire.origin import OriginAtEnd, UnsampledOrigin, own_trace_id
from errand.worker.runners.attempt import Outcome
from errand.worker.runners.claimed_job import ClaimedJob
from errand.worker.runners.under_way import IN_ATTEMPT

if TYPE_CHECKING:
    from errand.tracing.spans import Spans

Made = Coroutine[Any, Any, Outcome]


def is_found(job: ClaimedJob) -> bool:
    """True for the first attempt at a job of an unsampled trace: what looks for the trace finds it by `_context_here`.

    `traced` would do the same by a coroutine around the attempt, which costs a no-op job a twentieth more. All is
    looked at here, without a call: for most jobs this is what traces cost.
    """
    origin, spans = job.origin, current.Switch.spans
    if not isinstance(origin, OriginAtEnd) or spans is None or job.job_try != 1:
        return False
    if (lazily := spans.lazily) is None or lazily.kept.get() is not lazily.nothing:
        return False
    if current.REQUEST_ID.get() is not None:
        return False
    job.trace_id = origin.trace_id if isinstance(origin, UnsampledOrigin) else own_trace_id(job.claim.job_id)
    return True


def _context_here() -> Any:
    """OpenTelemetry's context of the first attempt at a job whose trace is not sampled; None anywhere else."""
    under_way, spans = IN_ATTEMPT.get(), current.spans()
    if spans is None:
        return None
    if under_way.trace_context is None and (parent := _left_out(spans, under_way.job)) is not None:
        under_way.trace_context = spans.context_in(parent)
    return under_way.trace_context


def _left_out(spans: Spans, job: ClaimedJob) -> UnsampledOrigin | None:
    """What has put the job if nothing of that trace is recorded, and this is the first attempt."""
    return spans.left_out(job.origin, job_id=job.claim.job_id) if job.job_try == 1 else None


OfAttempt.under_way, OfAttempt.context = IN_ATTEMPT, staticmethod(_context_here)


def traced(job: ClaimedJob, made: Made, *, queue_key: str) -> Made:
    """Makes the attempt at a job that says where it comes from, or while traces are on."""
    spans = current.spans()
    if spans is not None and (parent := _left_out(spans, job)) is not None:
        return _unsampled(spans, job, made, parent)
    return _with_ids(spans, job, made, queue=keys.queue_name(queue_key))


async def _unsampled(spans: Spans, job: ClaimedJob, made: Made, parent: UnsampledOrigin) -> Outcome:
    # log lines get their ids when they are written (`process.logs`): to bind them costs more than all else here
    job.trace_id = parent.trace_id
    asked, token = current.enter_request(job.origin.request_id), None if spans.enters_lazily() else spans.enter(parent)
    try:
        return await made
    finally:
        if token is not None:
            spans.leave(token)
        current.leave_request(asked)


async def _with_ids(spans: Spans | None, job: ClaimedJob, made: Made, *, queue: str) -> Outcome:
    asked = current.enter_request(job.origin.request_id)
    try:
        if spans is not None:
            return await _in_span(spans, job, made, queue=queue)
        with bound_contextvars(**current.ids()):
            return await made
    finally:
        current.leave_request(asked)


async def _in_span(spans: Spans, job: ClaimedJob, made: Made, *, queue: str) -> Outcome:
    with spans.attempt(
        job.origin, number=job.job_try, type_name=job.function, queue=queue, job_id=job.claim.job_id
    ) as span:
        ids = current.ids()
        job.trace_id = ids.get("trace_id")
        bound = bind_contextvars(**ids)
        try:
            outcome = await made
        finally:
            reset_contextvars(**bound)
        error = outcome.error
        spans.end_attempt(span, outcome.status, None if error is None else (error.type, error.message))
        return outcome
