"""Lists the jobs that another one has put, or waits for as its group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arq.connections import ArqRedis

from errand.monitor.job_snapshot import JobSnapshot
from errand.monitor.several_jobs import read_jobs
from errand.wire import keys


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
    names = [entry.decode(errors="replace").partition(" ") for entry in entries[:limit]]
    jobs = await read_jobs(redis, [(queue, child) for queue, _, child in names])
    return Children([job for job in jobs if job is not None], first + limit if len(entries) > limit else None)
