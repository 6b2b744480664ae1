"""A job on its way into a queue: what the script is sent of it, and what its answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arq.utils import timestamp_ms

from errand.queue.idempotency import FirstAnswer, Idempotency
from errand.queue.uniqueness import NotUnique, Unique
from errand.redis.durability import Grade
from errand.wire import codec
from errand.wire.job_id import new_job_id
from errand.wire.limits import JobLimits

EXISTS, FULL = 0, 1
"""What the script answers of a job that it has not put; any other answer is when the job is due."""


class JobExists(Exception):
    """A job of that id is queued, running, or still remembered."""


class QueueFull(Exception):
    """The queue holds as many unfinished jobs as it may."""

    def __init__(self, queue: str) -> None:
        super().__init__(f"the queue '{queue}' holds as many unfinished jobs as it may")
        self.queue = queue


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A job that Redis has. Times are ms since the epoch."""

    job_id: str
    enqueued_at_ms: int
    due_at_ms: int
    deferred: bool
    """Not due at once."""
    durability: Grade
    """What stands behind it."""
    replayed: bool = False
    """An earlier request under the same idempotency key has put it; `memo` is what that one left."""
    memo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job for `enqueue_together`; its fields are as the parameters of `Queue.enqueue`."""

    type_name: str
    args: Mapping[str, Any]
    job_id: str
    delay_ms: int = 0
    run_at_ms: int | None = None
    limits: JobLimits | None = None


@dataclass(slots=True)
class Entry:
    """A job as the script is sent it. Times are ms."""

    job_id: str
    type_name: str
    body: bytes
    enqueued_at_ms: int
    delay_ms: int
    run_at_ms: int | None
    idempotency: Idempotency | None = None
    unique: Unique | None = None
    replaces: str | None = None
    """The job that is cancelled in the same transaction for this one."""

    stands_for: Sequence[str] = ()
    """All jobs of its call, which its idempotency key is for."""

    @property
    def on_terms(self) -> bool:
        return self.idempotency is not None or self.unique is not None


Answer = tuple[int | bytes, Grade]
"""When a job is due, negative for later, or why it was not put (text where its terms keep it out); and what stands
behind it."""


def entry_of(job: NewJob) -> Entry:
    return new_entry(
        job.type_name,
        job.args,
        job_id=job.job_id,
        delay_ms=job.delay_ms,
        run_at_ms=job.run_at_ms,
        limits=job.limits,
    )


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
) -> Entry:
    enqueued_at_ms = timestamp_ms()
    job = {"t": None, "f": type_name, "a": (), "k": args, "et": enqueued_at_ms}
    if unique is not None:
        job[codec.UNIQUE_KEY] = unique.key
    if limits is not None:
        job |= limits.kept(enqueued_at_ms).fields()
    body = codec.dumps(job)
    return Entry(job_id or new_job_id(), type_name, body, enqueued_at_ms, delay_ms, run_at_ms, idempotency, unique)


def enqueued(queue: str, entry: Entry, answer: Answer) -> Enqueued:
    """What the script's answer means. Raises JobExists, QueueFull, KeyReused and NotUnique."""
    put, durability = answer
    if isinstance(put, bytes):
        (job,) = kept_out(entry, put, durability)
        return job
    if put == EXISTS:
        raise JobExists(entry.job_id)
    if put == FULL:
        raise QueueFull(queue)
    return Enqueued(entry.job_id, entry.enqueued_at_ms, abs(put), deferred=put < 0, durability=durability)


def kept_out(entry: Entry, instead: bytes, durability: Grade) -> list[Enqueued]:
    """The jobs that an earlier request under the same key has put. Raises KeyReused or NotUnique."""
    if entry.idempotency is None or instead.startswith(NotUnique.WORD):
        raise NotUnique.parse(instead)
    return jobs_of(FirstAnswer.parse(instead).given_to(entry.idempotency.fingerprint), durability)


def jobs_of(first: FirstAnswer, durability: Grade) -> list[Enqueued]:
    """The jobs of an earlier request, as its answer named them."""
    return [
        Enqueued(
            job_id,
            first.enqueued_at_ms,
            abs(first.due_ms),
            deferred=first.due_ms < 0,
            durability=durability,
            replayed=True,
            memo=first.memo,
        )
        for job_id in first.job_ids
    ]
