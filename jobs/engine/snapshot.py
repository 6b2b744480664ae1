"""The read side: what Redis knows of jobs and workers, read in one round trip each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from arq.connections import ArqRedis
from arq.constants import default_queue_name
from arq.jobs import JobDef, JobResult, deserialize_job, deserialize_result
from arq.utils import to_unix_ms

from jobs.engine import keys, records
from jobs.engine.records import Attempt, Error, JobCancelled, JobFailed, Progress, RunningAttempt

Status = Literal["deferred", "queued", "in_progress", "succeeded", "failed", "cancelled"]
ENDS: frozenset[Status] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnapshot:
    """One job as it is now. Times are ms since the epoch."""

    id: str
    type: str
    queue: str
    status: Status
    attempt: int
    """How many attempts have begun."""
    args: Mapping[str, Any]
    result: Any = None
    error: Error | None = None
    attempts: tuple[Attempt, ...] = ()
    progress: Progress | None = None
    enqueued_at_ms: int
    run_at_ms: int | None
    """When it is, or was last, due."""
    started_at_ms: int | None = None
    """When its latest attempt began."""
    finished_at_ms: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDS


async def read_job(redis: ArqRedis, job_id: str, *, queue_name: str = default_queue_name) -> JobSnapshot | None:
    """The job of that id; None where it is unknown or forgotten."""
    async with redis.pipeline(transaction=True) as transaction:
        transaction.mget(
            keys.body(job_id),
            keys.result(job_id),
            keys.in_progress(job_id),
            keys.running(job_id),
            keys.progress(job_id),
            keys.tries(job_id),
        )
        transaction.zscore(queue_name, job_id)
        transaction.lrange(keys.attempts(job_id), 0, -1)
        transaction.time()
        values, score, ended, (seconds, micros) = await transaction.execute()
    body, result, lease, running, progress, tries = values
    attempts = _attempts_of(ended)
    if result is not None:
        snapshot = _ended_job(job_id, deserialize_result(result, deserializer=records.loads), attempts)
    elif body is not None:
        snapshot = _live_job(
            job_id,
            deserialize_job(body, deserializer=records.loads),
            queue_name=queue_name,
            attempts=attempts,
            due_at_ms=None if score is None else int(score),
            running=RunningAttempt(**records.loads(running)) if running and lease else None,
            in_progress=lease is not None,
            tries=int(tries or 0),
            now_ms=seconds * 1000 + micros // 1000,
        )
    else:
        return None
    return replace(snapshot, progress=Progress(**records.loads(progress)) if progress else None)


async def live_workers(redis: ArqRedis, *, silent_s: float) -> int:
    """How many workers have sent a heartbeat in the last `silent_s` seconds, by the server's clock."""
    seconds, micros = await redis.time()
    since_ms = seconds * 1000 + micros // 1000 - int(silent_s * 1000)
    return int(await redis.zcount(keys.WORKERS, since_ms, "+inf"))


def _attempts_of(raw: list[bytes]) -> tuple[Attempt, ...]:
    """The records, oldest first. One is written twice where an outage cut off the answer to its write."""
    return tuple(_attempt_from(record) for record in dict.fromkeys(raw))


def _attempt_from(raw: bytes) -> Attempt:
    fields = records.loads(raw)
    error = fields.pop("error", None)
    return Attempt(**fields, error=Error(**error) if error else None)


def _ended_job(job_id: str, result: JobResult, attempts: tuple[Attempt, ...]) -> JobSnapshot:
    failure = result.result if not result.success else None
    last = attempts[-1] if attempts else None
    return JobSnapshot(
        id=job_id,
        type=result.function,
        queue=result.queue_name,
        status=_end_of(failure),
        attempt=last.number if last else result.job_try or 0,
        args=result.kwargs,
        result=result.result if result.success else None,
        error=failure.error if isinstance(failure, JobFailed | JobCancelled) else None,
        attempts=attempts,
        enqueued_at_ms=to_unix_ms(result.enqueue_time),
        run_at_ms=last.due_at_ms if last else None,
        started_at_ms=last.started_at_ms if last else None,
        finished_at_ms=to_unix_ms(result.finish_time),
    )


def _end_of(failure: object) -> Status:
    match failure:
        case None:
            return "succeeded"
        case JobCancelled() | JobFailed(cancelled=True):
            return "cancelled"
        case _:
            return "failed"


def _live_job(
    job_id: str,
    job: JobDef,
    *,
    queue_name: str,
    attempts: tuple[Attempt, ...],
    due_at_ms: int | None,
    running: RunningAttempt | None,
    in_progress: bool,
    tries: int,
    now_ms: int,
) -> JobSnapshot:
    waiting: Status = "deferred" if due_at_ms is not None and due_at_ms > now_ms else "queued"
    last = running or (attempts[-1] if attempts else None)
    return JobSnapshot(
        id=job_id,
        type=job.function,
        queue=queue_name,
        status="in_progress" if in_progress else waiting,
        attempt=max(tries, last.number if last else 0),
        args=job.kwargs,
        attempts=attempts,
        enqueued_at_ms=to_unix_ms(job.enqueue_time),
        run_at_ms=due_at_ms,
        started_at_ms=last.started_at_ms if last else None,
    )
