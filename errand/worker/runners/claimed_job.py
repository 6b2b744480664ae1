"""A job as its claim brought it: what Arq's serialised body says, each field checked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arq.jobs import Deserializer, SerializationError, deserialize_job_raw
from arq.utils import timestamp_ms
from arq.worker import JobExecutionFailed

from errand.leases.leases import Claim
from errand.wire import codec
from errand.wire.codec import UNKNOWN
from errand.wire.flow import NO_FLOW, Flow, may_have_flow
from errand.wire.limits import LATEST_MS, NO_LIMITS, KeptLimits, may_have_limits
from errand.wire.origin import NO_ORIGIN, OWN_TRACE, JobOrigin, Origin, cut_origin, may_have_origin

logger = logging.getLogger("arq.worker")


@dataclass(slots=True)
class ClaimedJob:
    """A claimed job and what its body says. Times are ms since the epoch."""

    claim: Claim
    function: str = UNKNOWN
    """The name of its job type or of its Arq function."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    job_try: int = 0
    """The number of the attempt, as Arq counts: a producer may ask for a later one than the first."""
    enqueued_at_ms: int = 0
    started_at_ms: int = 0
    """When its function was started, or refused; only `ArqRunner` sets it."""
    limits: KeptLimits = NO_LIMITS
    flow: Flow = NO_FLOW
    origin: Origin = NO_ORIGIN
    trace_id: str | None = None
    """That of the attempt which runs."""
    given: dict[str, Any] = field(default_factory=dict)
    """The args that the jobs for which it waited have given it; they are not kept a second time in its result."""
    unreadable: Exception | None = None
    """Why the body cannot be read; such a job ends unstarted."""
    hook_ctx: dict[str, Any] | None = None
    """What an Arq function and the hooks around it are given; None until it is started."""

    @property
    def ref(self) -> str:
        """The job in Arq's log lines."""
        return f"{self.claim.job_id}:{self.function}"

    @property
    def age_s(self) -> float:
        return (timestamp_ms() - self.enqueued_at_ms) / 1000

    @property
    def named_args(self) -> Mapping[str, Any]:
        """The args by name. A stock producer may pass them as one positional mapping; nothing else has names."""
        match self.args:
            case () | []:
                return self.kwargs
            case [Mapping() as only] if not self.kwargs:
                return only
            case _:
                return {**self.kwargs, "positional arguments": list(self.args)}


def read(claim: Claim, deserializer: Deserializer | None) -> ClaimedJob:
    """The claimed job. If its body is gone or cannot be read, `unreadable` says why; nothing is raised for that."""
    job = ClaimedJob(claim, job_try=claim.job_try)
    if claim.body is None:
        logger.warning("job %s expired", claim.job_id)
        job.unreadable = JobExecutionFailed("job expired")
        return job
    body, has_origin = claim.body, may_have_origin(claim.body)
    if has_origin and deserializer is codec.loads:
        if body.endswith(OWN_TRACE):
            job.origin, has_origin = OWN_TRACE, False
        elif (parts := cut_origin(body)) is not None:
            (body, job.origin), has_origin = parts, False
    if deserializer is not None:
        deserializer = _noting_more(job, body, deserializer, has_origin=has_origin)
    try:
        job.function, job.args, job.kwargs, asked_try, job.enqueued_at_ms = deserialize_job_raw(
            body, deserializer=deserializer
        )
    except SerializationError as error:
        logger.exception("deserializing job %s failed", claim.job_id)
        job.unreadable = error
        return job
    if not _makes_sense(job.function, job.kwargs, asked_try, job.enqueued_at_ms):
        logger.warning("job %s has fields of wrong types", claim.job_id)
        wrong = SerializationError("fields of wrong types")
        return ClaimedJob(claim, job_try=claim.job_try, unreadable=wrong)
    job.job_try = max(job.job_try, asked_try or 0)
    return job


def _noting_more(job: ClaimedJob, body: bytes, deserializer: Deserializer, *, has_origin: bool) -> Deserializer:
    """The deserializer, which also notes what Arq's fields do not say: limits, flow, origin; if there may be some."""
    has_more = may_have_limits(body) or may_have_flow(body)
    if not has_origin and not has_more:
        return deserializer

    def deserialize(body: bytes) -> dict[str, Any]:
        record = deserializer(body)
        if has_origin:
            job.origin = JobOrigin.of(record, job_id=job.claim.job_id)
        if has_more:
            job.limits, job.flow = KeptLimits.of(record), Flow.of(record)
        return record

    return deserialize


def _makes_sense(function: object, kwargs: object, asked_try: object, enqueued_at_ms: object) -> bool:
    """True if the fields have the types that Arq gives them: anybody may have written the body."""
    return (
        isinstance(function, str)
        and isinstance(kwargs, dict)
        and isinstance(asked_try or 0, int)
        and isinstance(enqueued_at_ms, int)
        and 0 <= enqueued_at_ms <= LATEST_MS
    )
