"""Reads one job: everything that Redis keeps of it, in one round trip."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from arq.connections import ArqRedis
from arq.constants import default_queue_name as DEFAULT  # noqa: N812
from arq.jobs import DeserializationError, JobDef, deserialize_result
from arq.utils import to_unix_ms
from pydantic import TypeAdapter, ValidationError

from errand.redis.cluster.partitions import Partitions
from errand.redis.rows import rows_of
from errand.wire import codec, keys
from errand.wire.flow import HELD_MS, NO_FLOW, Flow
from errand.wire.indexes import end_of
from errand.wire.limits import LATEST_MS, KeptLimits, shown_ms
from errand.wire.origin import NO_ORIGIN, JobOrigin
from errand.wire.records import (
    Attempt,
    Block,
    BlockingAttempt,
    Error,
    JobCancelled,
    JobFailed,
    JobStatus,
    Progress,
    PutBack,
    RunningAttempt,
)
from errand.wire.running import running_attempt

ATTEMPT_FIELDS = frozenset(field.name for field in dataclasses.fields(BlockingAttempt))


ATTEMPT_NUMBERS = ("number", "due_at_ms", "started_at_ms", "ended_at_ms")


log = structlog.get_logger("errand.monitor")


Status = JobStatus


_PROGRESS, _PUT_BACK = TypeAdapter(Progress), TypeAdapter(PutBack)


T = TypeVar("T")


ENDS: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnapshot:
    """One job as it is now. Times are ms since the epoch."""

    id: str
    type: str
    queue: str
    status: Status
    attempt: int
    """How many attempts have started."""
    tries: int = 0
    """How many of them count; an attempt that a drain gave back does not."""
    args: Mapping[str, Any]
    result: Any = None
    error: Error | None = None
    attempts: tuple[Attempt, ...] = ()
    progress: Progress | None = None
    put_back: PutBack | None = None
    """Why it was put back without an attempt, since its last one."""
    enqueued_at_ms: int
    run_at_ms: int | None
    """When it is, or was last, due."""
    started_at_ms: int | None = None
    """When its latest attempt began."""
    finished_at_ms: int | None = None
    max_tries: int | None = None
    """Asked for this job alone; None if its type's counts."""
    expires_at_ms: int | None = None
    """If no attempt has started by then, it fails."""
    flow: Flow = NO_FLOW
    held: bool = False
    """It waits for other jobs: it is due when they have ended."""
    origin: JobOrigin = NO_ORIGIN
    """The trace and the request in which it was put."""
    priority: int = 0
    revision: str = ""
    """Differs after each change of what Redis keeps of the job, except a renewed lease; empty in lists of jobs."""

    @property
    def ended(self) -> bool:
        """True if nothing more happens to the job."""
        return self.status in ENDS


async def read_job(redis: ArqRedis, job_id: str, *, queues: Sequence[str] = (DEFAULT,)) -> JobSnapshot | None:
    """The job of that id, in one of these queues (their keys); None if it is unknown or forgotten."""
    job, _ = await _read_job(redis, job_id, queues=queues, histories=())
    return job


async def find_job(partitions: Partitions, job_id: str, *, queues: Sequence[str]) -> JobSnapshot | None:
    """The same, in whichever partition the job is."""
    return await partitions.look_for(job_id, lambda redis: read_job(redis, job_id, queues=queues))


async def goes_on(partitions: Partitions, job_id: str) -> bool:
    """True if the job is known and has not ended: a look that costs a fraction of reading it."""

    async def look(redis: ArqRedis) -> bool | None:
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(keys.result(job_id))
            pipeline.exists(keys.body(job_id))
            has_ended, is_put = await pipeline.execute()
        return not has_ended if has_ended or is_put else None

    return await partitions.look_for(job_id, look) or False


async def read_job_in_history(
    redis: ArqRedis, job_id: str, *, queues: Sequence[str]
) -> tuple[JobSnapshot | None, dict[str, bytes]]:
    """The job, and for each queue, by its name, the position of the last entry of its history at the same moment.

    Changes after these positions are not in the job that was read. A queue has no history if nobody watches it.
    """
    job, histories = await _read_job(redis, job_id, queues=queues, histories=queues)
    last = zip(queues, histories, strict=True)
    return job, {keys.queue_name(queue): entries[0][0] for queue, entries in last if entries}


async def _read_job(
    redis: ArqRedis, job_id: str, *, queues: Sequence[str], histories: Sequence[str]
) -> tuple[JobSnapshot | None, list[Any]]:
    """The job, and the last entry of each of these histories (their queues' keys)."""
    async with redis.pipeline(transaction=True) as transaction:
        transaction.mget(
            *(name(job_id) for name in (keys.body, keys.result, keys.lease, keys.progress, keys.tries, keys.put_back))
        )
        transaction.lrange(keys.attempts(job_id), 0, -1)
        transaction.time()
        for queue in queues:
            transaction.zscore(queue, job_id)
            transaction.hget(keys.running(queue), job_id)
        for queue in histories:
            transaction.xrevrange(keys.history(queue), count=1)
        row, attempts, (seconds, micros), *rest = await transaction.execute()
    body, result, lease, progress, tries, put_back = row
    in_queues, last = rest[: 2 * len(queues)], rest[2 * len(queues) :]
    if result is not None:
        revision = hashlib.sha1(result, usedforsecurity=False).hexdigest()
        return replace(_ended_or_unreadable(job_id, result, queue=queues[0]), revision=revision), last
    if body is None:
        return None, last
    queue, score, running = next(
        ((queue, *row) for queue, row in zip(queues, rows_of(in_queues, 2), strict=True) if row[0] is not None),
        (queues[0], None, None),
    )
    job, record = codec.job_in(body)
    live = live_job(
        job_id,
        job,
        limits=KeptLimits.of(record),
        flow=Flow.of(record),
        origin=JobOrigin.of(record, job_id=job_id),
        queue=queue,
        attempts=_attempts_in(attempts),
        due_at_ms=None if score is None else shown_ms(score),
        running=running_attempt(running) if running and lease else None,
        in_progress=lease is not None,
        tries=number_in(tries),
        progress=_value_in(_PROGRESS, progress),
        put_back=_value_in(_PUT_BACK, put_back),
        now_ms=seconds * 1000 + micros // 1000,
        revision=revision_of(running if lease else None, score, tries, len(attempts), progress),
    )
    return live, last


def revision_of(
    started: bytes | None, score: float | None, tries: bytes | None, attempts: int, progress: bytes | None
) -> str:
    """The revision of a job that has not ended; must be the one that `queue/parts/revision.lua` makes."""
    state = started or f"{score or 0:.0f}".encode()
    parts = (state, tries or b"", b"%d" % attempts, progress or b"")
    return hashlib.sha1(b"\n".join(parts), usedforsecurity=False).hexdigest()


def _attempts_in(records: Sequence[bytes]) -> tuple[Attempt, ...]:
    """The attempts among those records; what another program has written is left out."""
    attempts = []
    for fields in codec.readable(records):
        try:
            attempts.append(_attempt_from(fields))
        except (TypeError, KeyError, ValueError):
            log.warning("an attempt cannot be read and is left out", fields=sorted(fields))
    return tuple(attempts)


def _attempt_from(fields: dict[str, Any]) -> Attempt:
    """From a record, which may be older or younger than this reader.

    Raises TypeError, KeyError or ValueError for what another program has written.
    """
    known = {name: value for name, value in fields.items() if name in ATTEMPT_FIELDS}
    error, blocked = known.pop("error", None), known.pop("blocked", None)
    known["error"] = Error.read(error) if error else None
    numbers = [known.get(name) for name in ATTEMPT_NUMBERS]
    if not all(isinstance(number, int | float) and 0 <= number <= LATEST_MS for number in numbers):
        raise ValueError("numbers that are none, or no times")
    if not blocked:
        return Attempt(**known)
    return BlockingAttempt(**known, blocked=Block(for_ms=blocked["for_ms"], at=blocked["at"]))


MAX_DIGITS = 18
"""Of what Redis can count."""


def number_in(text: bytes | None) -> int:
    """A counter; 0 if there is none, or another program has written it."""
    return int(text) if text is not None and text.isdigit() and len(text) <= MAX_DIGITS else 0


def _value_in(kind: TypeAdapter[T], record: bytes | None) -> T | None:
    """The value in a record; None if there is none, or another program has written it."""
    return _value_of(kind, codec.readable_or_empty(record)) if record else None


def _value_of(kind: TypeAdapter[T], fields: object) -> T | None:
    try:
        return kind.validate_python(fields) if fields else None
    except ValidationError:
        return None


def _ended_or_unreadable(job_id: str, record: bytes, *, queue: str) -> JobSnapshot:
    """The job of a result that another program may have pickled, or written in other fields: at least it has ended."""
    try:
        return ended_job(job_id, record)
    except (DeserializationError, ValueError, TypeError, KeyError):
        message = "its result cannot be read: a program with another serialiser, or another release, has written it"
        return JobSnapshot(
            id=job_id,
            type=codec.UNREADABLE,
            queue=keys.queue_name(queue),
            status="failed",
            attempt=0,
            args={},
            error=Error(type="UnreadableResult", message=message),
            enqueued_at_ms=0,
            run_at_ms=None,
        )


def ended_job(job_id: str, record: bytes) -> JobSnapshot:
    """The job of an Arq result; a stock worker's has no attempts in it.

    Raises DeserializationError, ValueError, TypeError or KeyError for one that cannot be read.
    """
    fields = codec.loads(record)
    result = deserialize_result(record, deserializer=codec.loads)
    names = (result.function, result.queue_name)
    if not all(isinstance(name, str) for name in names) or not isinstance(result.kwargs, Mapping):
        raise TypeError("fields of wrong types")
    failure = result.result if not result.success else None
    attempts = tuple(map(_attempt_from, fields.get("attempts", [])))
    last = attempts[-1] if attempts else None
    limits = KeptLimits.of(fields)
    return JobSnapshot(
        id=job_id,
        type=result.function,
        queue=keys.queue_name(result.queue_name),
        status=end_of(failure),
        attempt=last.number if last else result.job_try or 0,
        args=result.kwargs,
        result=result.result if result.success else None,
        error=failure.error if isinstance(failure, JobFailed | JobCancelled) else None,
        attempts=attempts,
        progress=_value_of(_PROGRESS, fields.get("progress")),
        enqueued_at_ms=to_unix_ms(result.enqueue_time),
        run_at_ms=last.due_at_ms if last else None,
        started_at_ms=last.started_at_ms if last else None,
        finished_at_ms=to_unix_ms(result.finish_time),
        max_tries=limits.max_tries,
        expires_at_ms=limits.expires_at_ms,
        flow=Flow.of(fields),
        origin=JobOrigin.of(fields, job_id=job_id),
        priority=limits.priority or 0,
    )


def live_job(
    job_id: str,
    job: JobDef,
    *,
    limits: KeptLimits,
    flow: Flow = NO_FLOW,
    origin: JobOrigin = NO_ORIGIN,
    queue: str,
    attempts: tuple[Attempt, ...] = (),
    due_at_ms: int | None,
    running: RunningAttempt | None,
    in_progress: bool,
    tries: int,
    progress: Progress | None = None,
    put_back: PutBack | None = None,
    now_ms: int,
    revision: str = "",
) -> JobSnapshot:
    """A job that has not ended, from what Redis holds of it."""
    waiting: Status = "deferred" if due_at_ms is not None and due_at_ms > now_ms else "queued"
    last = running or (attempts[-1] if attempts else None)
    held = flow.needs is not None and due_at_ms == shown_ms(HELD_MS)
    return JobSnapshot(
        id=job_id,
        type=job.function,
        queue=keys.queue_name(queue),
        status="in_progress" if in_progress else waiting,
        attempt=max(tries, last.number if last else 0),
        tries=tries,
        args=job.kwargs,
        attempts=attempts,
        progress=progress,
        put_back=put_back,
        enqueued_at_ms=to_unix_ms(job.enqueue_time),
        # the queue holds the end of a running job's lease, not when it was due
        run_at_ms=running.due_at_ms if running else None if held else due_at_ms,
        started_at_ms=last.started_at_ms if last else None,
        max_tries=limits.max_tries,
        expires_at_ms=limits.expires_at_ms,
        flow=flow,
        origin=origin,
        held=held,
        priority=limits.priority or 0,
        revision=revision,
    )


def without_large_fields(job: JobSnapshot) -> JobSnapshot:
    """The job as lists have it: without its args, result and attempts."""
    error = job.error and replace(job.error, traceback=None)
    return replace(job, args={}, result=None, attempts=(), progress=None, error=error)
