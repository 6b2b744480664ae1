"""A job on its way into a queue: what is sent to the script, and what its answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from arq.utils import timestamp_ms

from errand.queue.idempotency import FirstAnswer, Idempotency
from errand.queue.uniqueness import NotUnique, Unique
from errand.redis.durability import Grade
from errand.wire import codec
from errand.wire.flow import NO_FLOW, Flow, PlannedJob
from errand.wire.job_id import new_job_id
from errand.wire.limits import MAX_TRIES, PRIORITY, JobLimits
from errand.wire.origin import NO_ORIGIN, ORIGIN, OWN, OWN_TRACE, Origin, dumps_with


class JobExists(Exception):
    """A job of that id is queued, running, or still remembered."""


class UnknownDependency(ValueError):
    """A job of `depends_on` is not known: it was never put, or Redis has forgotten it. Errand put no job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id} is known, for which another one could wait")
        self.job_id = job_id


class DividedDependencies(ValueError):
    """The jobs of `depends_on` lie in several partitions, and no job can wait in all of them. Errand put no job."""

    def __init__(self) -> None:
        super().__init__(
            "the jobs that a job waits for lie in several partitions (QUEUE_PARTITIONS): put them as a group, which "
            "lies in one, with the job that waits as the one that joins them"
        )


class QueueFull(Exception):
    """The queue holds as many unfinished jobs as it may."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"the queue '{queue}' holds as many unfinished jobs as it may")
        self.queue = queue


@dataclass(slots=True)
class Enqueued:
    """A job that Redis has. Times are ms since the epoch.

    It is not frozen: a frozen one takes three times as long to make, for each job.
    """

    job_id: str
    enqueued_at_ms: int
    due_at_ms: int
    deferred: bool
    """Not due at once."""
    durability: Grade
    """What stands behind it."""
    accepted_at_ms: int = field(default=0, compare=False)
    """By the server's clock, as `due_at_ms`; `enqueued_at_ms` is by that of this process. Nearly, if it is replayed."""
    replayed: bool = False
    """An earlier request under the same idempotency key has put it; `memo` is what that one left."""
    memo: str = ""
    replaced: str = ""
    """The id of the waiting job that held its unique key, and was cancelled for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job for `enqueue_together`; its fields are as the parameters of `Queue.enqueue`."""

    type_name: str
    args: Mapping[str, Any]
    job_id: str
    delay_ms: int = 0
    run_at_ms: int | None = None
    unique: Unique | None = None
    limits: JobLimits | None = None
    enforce: bool = True
    """It is not put if its queue is full."""
    flow: Flow = NO_FLOW
    is_named: bool = False
    """Its id was not drawn: another job may have it."""


@dataclass(slots=True)
class Entry:
    """A job as it is sent to the script. Times are ms."""

    job_id: str
    type_name: str
    body: bytes
    enqueued_at_ms: int
    delay_ms: int
    run_at_ms: int | None
    idempotency: Idempotency | None = None
    unique: Unique | None = None
    expires_in_ms: int | None = None
    priority: int = 0
    replaces: str | None = None
    """The job that is cancelled in the same transaction for this one."""

    enforce: bool = True
    flow: Flow = NO_FLOW
    stands_for: Sequence[str] = ()
    """All jobs of its call, which its idempotency key is for."""

    @property
    def is_conditional(self) -> bool:
        """True if a key may keep it out, or it has a time to start by, a priority, or to do with others."""
        return (
            self.idempotency is not None
            or self.unique is not None
            or self.expires_in_ms is not None
            or self.priority > 0
            or (self.flow is not NO_FLOW and self.flow.concerns_others)
        )


PUT = (b"queued", b"deferred")
"""The tags of jobs that were put."""


class Answer(NamedTuple):
    """The script's answer to one job."""

    tag: bytes
    """`queued`, `deferred`, `exists`, `full`, `answered`, `held` or `unknown`, as the head of the script says."""
    detail: int | bytes
    """When the job is due (ms since the epoch), the first answer under its key, the job that holds its key, or one that
    it is to wait for.
    """
    at_ms: int
    """When the script ran, by the server's clock."""
    durability: Grade
    """What stands behind the job."""

    @property
    def exists(self) -> bool:
        """True if a job of that id exists, and no other was put."""
        return self.tag == b"exists"

    @property
    def is_kept_out(self) -> bool:
        """True if the job was not put because of its idempotency key or its unique key."""
        return isinstance(self.detail, bytes)

    @property
    def is_held(self) -> bool:
        """True if another job holds its unique key, and no other was put."""
        return self.tag == b"held"


def step_of(job: PlannedJob, flow: Flow) -> NewJob:
    """A step of a chain, or a job of a group, that is put now."""
    return NewJob(
        type_name=job.type,
        args=job.args,
        job_id=job.id,
        delay_ms=job.delay_ms,
        run_at_ms=job.run_at_ms,
        limits=job.limits,
        flow=flow,
    )


def entry_of(job: NewJob, origin: Origin) -> Entry:
    entry = new_entry(
        job.type_name,
        job.args,
        job_id=job.job_id,
        delay_ms=job.delay_ms,
        run_at_ms=job.run_at_ms,
        unique=job.unique,
        limits=job.limits,
        flow=job.flow,
        origin=origin,
    )
    entry.enforce = job.enforce
    return entry


def new_entry(
    type_name: str,
    args: Mapping[str, Any],
    *,
    job_id: str | None,
    delay_ms: int,
    run_at_ms: int | None,
    idempotency: Idempotency | None = None,
    unique: Unique | None = None,
    limits: JobLimits | None = None,
    flow: Flow = NO_FLOW,
    origin: Origin,
) -> Entry:
    enqueued_at_ms = timestamp_ms()
    job = {"t": None, "f": type_name, "a": (), "k": args, "et": enqueued_at_ms}
    if unique is not None:
        job[codec.UNIQUE_KEY] = unique.key
    if limits is not None and limits.max_tries is not None:
        job[MAX_TRIES] = limits.max_tries
    priority = 0 if limits is None else limits.priority or 0
    if priority:
        job[PRIORITY] = priority
    if flow is not NO_FLOW:
        job |= flow.fields()
    if origin is OWN_TRACE:
        # as `dumps_with` would, a call less for the usual job of a program that traces
        job[ORIGIN], origin = OWN, NO_ORIGIN
    return Entry(
        job_id or new_job_id(),
        type_name,
        codec.dumps(job) if origin is NO_ORIGIN else dumps_with(origin, job),
        enqueued_at_ms,
        delay_ms,
        run_at_ms,
        idempotency,
        unique,
        # by the server's clock: the script adds it to the body
        expires_in_ms=None if limits is None else limits.expires_in_ms,
        priority=priority,
        flow=flow,
    )


def enqueued(queue: str, entry: Entry, answer: Answer) -> Enqueued:
    """The job that the script has put. Raises JobExists, QueueFull, KeyReused and NotUnique."""
    tag, detail, at_ms, durability = answer
    if tag in PUT:
        return Enqueued(
            entry.job_id,
            entry.enqueued_at_ms,
            int(detail),
            deferred=tag == b"deferred",
            durability=durability,
            accepted_at_ms=at_ms,
        )
    if tag == b"exists":
        raise JobExists(entry.job_id)
    if tag == b"full":
        raise QueueFull(queue)
    (job,) = first_answered(entry, answer)
    return job


def first_answered(entry: Entry, answer: Answer) -> list[Enqueued]:
    """The jobs that an earlier request under the same key has put. Raises KeyReused, NotUnique or UnknownDependency."""
    assert isinstance(answer.detail, bytes)
    if answer.tag == b"unknown":
        raise UnknownDependency(answer.detail.decode())
    if answer.tag == b"held":
        raise NotUnique.parse(answer.detail)
    assert entry.idempotency is not None
    return jobs_of(FirstAnswer.parse(answer.detail).given_to(entry.idempotency.fingerprint), answer.durability)


def jobs_of(first: FirstAnswer, durability: Grade) -> list[Enqueued]:
    """The jobs of an earlier request, as its answer named them."""
    return [
        Enqueued(
            job_id,
            first.enqueued_at_ms,
            first.due_ms,
            deferred=first.deferred,
            durability=durability,
            # of those that were deferred it was not kept
            accepted_at_ms=first.enqueued_at_ms if first.deferred else first.due_ms,
            replayed=True,
            memo=first.memo,
        )
        for job_id in first.job_ids
    ]
