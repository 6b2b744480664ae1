"""Reads several jobs in one round trip, as lists have them: without their args, results and attempts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arq.connections import ArqRedis
from arq.jobs import DeserializationError

from errand.monitor.job_snapshot import JobSnapshot, ended_job, live_job, number_in, without_large_fields
from errand.redis.cluster.each import of_each
from errand.redis.rows import in_turns, rows_of
from errand.wire import codec, keys
from errand.wire.flow import Flow
from errand.wire.limits import KeptLimits, shown_ms
from errand.wire.running import running_attempt


async def read_jobs(redis: ArqRedis, addresses: Sequence[tuple[str, str]]) -> list[JobSnapshot | None]:
    """The job of each queue (its key) and id; None if it has been forgotten, or its result cannot be read."""
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.time()
        for queue, job_id in addresses:
            pipeline.mget(keys.result(job_id), keys.body(job_id), keys.lease(job_id), keys.tries(job_id))
            pipeline.zscore(queue, job_id)
            pipeline.hget(keys.running(queue), job_id)
        (seconds, micros), *answers = await pipeline.execute()
    now_ms = seconds * 1000 + micros // 1000
    rows = zip(addresses, rows_of(answers, 3), strict=True)
    jobs = [_job_of(job_id, row, queue=queue, now_ms=now_ms) async for (queue, job_id), row in in_turns(rows)]
    return [job and without_large_fields(job) for job in jobs]


async def find_jobs(clients: Sequence[ArqRedis], addresses: Sequence[tuple[str, str]]) -> list[JobSnapshot | None]:
    """The same, in whichever partition each of them is."""
    of_parts = await of_each(clients, lambda redis: read_jobs(redis, addresses))
    return [next((job for job in jobs if job is not None), None) for jobs in zip(*of_parts, strict=True)]


def _job_of(job_id: str, row: Sequence[Any], *, queue: str, now_ms: int) -> JobSnapshot | None:
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
