"""Lists the jobs that another one has put, or waits for as its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arq.connections import ArqRedis
from arq.jobs import DeserializationError

from errand.monitor.job_snapshot import JobSnapshot, ended_job, live_job, number_in, without_large_fields
from errand.redis.rows import rows_of
from errand.wire import codec, keys
from errand.wire.flow import Flow
from errand.wire.limits import KeptLimits, shown_ms
from errand.wire.running import running_attempt


@dataclass(frozen=True, slots=True)
class Children:
    """Jobs in the order in which they were put, without their args, results and attempts."""

    jobs: Sequence[JobSnapshot]
    """Without those that have been forgotten."""
    next: int | None
    """The number of the first of the next page; None at the end."""


async def children_of(redis: ArqRedis, job_id: str, *, first: int, limit: int) -> Children:
    """Up to `limit` children from the one with that number on; none if the job has, or had, none that are known."""
    index = keys.children(job_id)
    entries = await redis.zrange(index, first, first + limit)
    children = [tuple(entry.decode().split(" ", 1)) for entry in entries[:limit]]
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.time()
        for queue, child in children:
            pipeline.mget(keys.result(child), keys.body(child), keys.lease(child), keys.tries(child))
            pipeline.zscore(queue, child)
            pipeline.hget(keys.running(queue), child)
        (seconds, micros), *answers = await pipeline.execute()
    now_ms = seconds * 1000 + micros // 1000
    rows = zip(children, rows_of(answers, 3), strict=True)
    found = [_job_of(child, row, queue=queue, now_ms=now_ms) for (queue, child), row in rows]
    jobs = [without_large_fields(job) for job in found if job is not None]
    return Children(jobs, first + limit if len(entries) > limit else None)


def _job_of(job_id: str, row: Sequence[Any], *, queue: str, now_ms: int) -> JobSnapshot | None:
    """None if it has been forgotten, or its result cannot be read."""
    (result, body, lease, tries), score, started = row
    if result is not None:
        try:
            return ended_job(job_id, result)
        except (DeserializationError, ValueError, TypeError, KeyError):
            return None
    if body is None:
        return None
    job, record = codec.job_in(body)
    return live_job(
        job_id,
        job,
        limits=KeptLimits.of(record),
        flow=Flow.of(record),
        queue=queue,
        due_at_ms=None if score is None else shown_ms(score),
        running=running_attempt(started) if started and lease else None,
        in_progress=lease is not None,
        tries=number_in(tries),
        now_ms=now_ms,
    )
