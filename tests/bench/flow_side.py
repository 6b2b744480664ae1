"""Errand's worker on jobs with priorities and limits, and on the same jobs without."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand.job.context import Context
from errand.job.job_type import job
from errand.process.garbage import collect_less
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.wire.limits import JobLimits
from errand.worker.worker import Worker
from tests.bench.candidate import cpu_s, main
from tests.bench.errand_side import FILL, opened, until

KEYS = 10_000
MANY = 100_000


class Order(BaseModel):
    """Whose job it is."""

    customer: int


class Seen:
    """How many jobs have started, and when the awaited one did, after how many."""

    started = before = 0
    awaited_s: float | None = None


@job()
async def free(ctx: Context, args: Order) -> None:
    """Has no limit."""


@job(concurrency=5, concurrency_key="{customer}")
async def keyed(ctx: Context, args: Order) -> None:
    """Five of each customer."""
    Seen.started += 1
    if args.customer < 0:
        Seen.awaited_s, Seen.before = time.perf_counter(), Seen.started - 1


@asynccontextmanager
async def working(url: str) -> AsyncIterator[Worker]:
    pool = connect(url, reply_timeout_s=60)
    worker = Worker(
        job_types=[free, keyed],
        redis_pool=pool,
        job_serializer=pool.job_serializer,
        job_deserializer=pool.job_deserializer,
        handle_signals=False,
        max_jobs=100,
        poll_delay=1.0,
    )
    running = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        await worker.close()
        await asyncio.gather(running, return_exceptions=True)


async def fill(queue: Queue, name: str, number: int, *, customers: int, priorities: int) -> None:
    """`number` jobs, of so many customers in turn; each call's jobs have the next of so many priorities."""
    priority = itertools.cycle(range(priorities))
    for start in range(0, number, FILL):
        many = [{"customer": each % customers} for each in range(start, min(start + FILL, number))]
        limits = JobLimits(priority=next(priority)) if priorities > 1 else None
        await queue.enqueue_many(name, many, limits=limits)


async def throughput(url: str, number: float, limited: float, priorities: float) -> dict[str, Any]:
    """What a job costs the worker and Redis, from its claim to its end."""
    async with opened(url) as (client, queue):
        name = "keyed" if limited else "free"
        await fill(queue, name, int(number), customers=KEYS, priorities=int(priorities))
        of_redis_s, used_s, started_s = await redis_cpu_s(client), cpu_s(), time.perf_counter()
        async with working(url) as worker:
            await until(lambda: worker.jobs_complete >= number)
            took_s, done = time.perf_counter() - started_s, worker.jobs_complete
            used_s, of_redis_s = cpu_s() - used_s, await redis_cpu_s(client) - of_redis_s
    return {"jobs_per_s": done / took_s, "us_per_job": (used_s + of_redis_s) / done * 1e6}


async def fairness(url: str) -> dict[str, Any]:
    """One customer's job behind very many of another, all due: when it starts, and how many have started before."""
    async with opened(url) as (_, queue):
        await fill(queue, "keyed", MANY, customers=1, priorities=1)
        await queue.enqueue("keyed", {"customer": -1})
        started_s = time.perf_counter()
        async with working(url):
            await until(lambda: Seen.awaited_s is not None)
    assert Seen.awaited_s is not None
    return {"after_ms": (Seen.awaited_s - started_s) * 1000, "before": Seen.before}


async def redis_cpu_s(client: ArqRedis) -> float:
    """CPU time that the server has used."""
    used = await client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


if __name__ == "__main__":
    collect_less()  # as the worker's process does, once it has started
    main({"throughput": throughput, "fairness": fairness}, uvloop.run)
