"""An attempt within its span; what is logged meanwhile names the trace, and the request in which the job was put."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import Token
from typing import TYPE_CHECKING, Any

from structlog.contextvars import bound_contextvars

from errand.tracing import current
from errand.wire import keys
from errand.wire.origin import UnsampledOrigin
from errand.worker.runners.attempt import Outcome
from errand.worker.runners.claimed_job import ClaimedJob

if TYPE_CHECKING:
    from errand.tracing.spans import Spans

Made = Coroutine[Any, Any, Outcome]


def enter_left_out(job: ClaimedJob) -> Token[Any] | None:
    """Has the first attempt at a job of an unsampled trace belong to that, until `leave`; None for any other attempt.

    `traced` would do the same by a coroutine around the attempt, for twice the time: a thirtieth of a no-op job's.
    """
    origin, spans = job.origin, current.spans()
    if not isinstance(origin, UnsampledOrigin) or spans is None or job.job_try != 1:
        return None
    if current.REQUEST_ID.get() is not None or spans.left_out(origin) is None:
        return None
    job.trace_id = origin.trace_id
    return spans.enter(origin)


def leave(entered: Token[Any]) -> None:
    if (spans := current.spans()) is not None:
        spans.leave(entered)


def traced(job: ClaimedJob, made: Made, *, queue_key: str) -> Made:
    """Makes the attempt at a job that says where it comes from, or while traces are on."""
    spans = current.spans()
    if spans is not None and job.job_try == 1 and (parent := spans.left_out(job.origin)) is not None:
        return _unsampled(spans, job, made, parent)
    return _with_ids(spans, job, made, queue=keys.queue_name(queue_key))


async def _unsampled(spans: Spans, job: ClaimedJob, made: Made, parent: UnsampledOrigin) -> Outcome:
    # log lines get their ids when they are written (`process.logs`): to bind them costs more than all else here
    job.trace_id = parent.trace_id
    asked, token = current.enter_request(job.origin.request_id), spans.enter(parent)
    try:
        return await made
    finally:
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
        with bound_contextvars(**ids):
            outcome = await made
        error = outcome.error
        spans.end_attempt(span, outcome.status, None if error is None else (error.type, error.message))
        return outcome
