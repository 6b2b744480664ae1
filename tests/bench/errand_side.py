"""Errand's worker and queue under each measure."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import redis.asyncio.connection
import uvloop
from arq.connections import ArqRedis

from errand.job.catalog import discover
from errand.job.producing.signature import PREVIOUS
from errand.job.producing.steps import chain
from errand.process.garbage import collect_less
from errand.process.worker import serve
from errand.queue.new_job import step_of
from errand.queue.queue import Queue
from errand.queue.sender import MAX_BATCH
from errand.queue.together import enqueue_together
from errand.redis.connection import connect
from errand.redis.redis_py import packed
from errand.wire import flow
from errand.worker.worker import Worker
from settings import Settings
from tests.bench import jobs_here
from tests.bench.candidate import cpu_s, main, percentile_ms

FILL = 5_000
START_S = 8
"""A worker process checks its Redis five seconds after its start, once."""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[ArqRedis, Queue]]:
    client = connect(url, reply_timeout_s=60)
    yield client, Queue(client, ended_ttl_s=3600)
    await client.aclose()


@asynccontextmanager
async def working(url: str) -> AsyncIterator[Worker]:
    """A worker as `python -m jobs` runs it, with Arq's 100 jobs at once."""
    pool = connect(url, reply_timeout_s=60)
    worker = Worker(
        job_types=[
            jobs_here.noop,
            jobs_here.noted,
            jobs_here.timed,
            jobs_here.now,
            jobs_here.lasting,
            jobs_here.patient,
        ],
        redis_pool=pool,
        job_serializer=pool.job_serializer,
        job_deserializer=pool.job_deserializer,
        handle_signals=False,
        max_jobs=100,
        poll_delay=1.0,
        allow_abort_jobs=True,
    )
    running = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        await worker.close()
        await asyncio.gather(running, return_exceptions=True)


async def fill(queue: Queue, name: str, number: int, *, delay_ms: int = 0) -> None:
    for start in range(0, number, FILL):
        await queue.enqueue_many(name, [{}] * min(FILL, number - start), delay_ms=delay_ms)


async def until(done: Any) -> None:
    while not done():
        await asyncio.sleep(0.002)


class Calls:
    """Counts what this process sends to Redis."""

    def __init__(self) -> None:
        self.number = 0
        # our connections write by themselves: redis-py's own method would never be called
        kind: Any = packed(redis.asyncio.connection.Connection)
        send = kind.send_packed_command

        async def counted(connection: Any, *args: Any, **options: Any) -> None:
            self.number += 1
            await send(connection, *args, **options)

        kind.send_packed_command = counted


async def throughput(url: str, number: float, waiting: float = 0) -> dict[str, Any]:
    """No-op jobs a second of one worker process, `waiting` more jobs being due behind them."""
    calls = Calls()
    async with opened(url) as (_, queue):
        await fill(queue, "noop", int(number + waiting))
        called, used_s, started_s = calls.number, cpu_s(), time.perf_counter()
        async with working(url) as worker:
            await until(lambda: worker.jobs_complete >= number)
            took_s, done = time.perf_counter() - started_s, worker.jobs_complete
            called, used_s = calls.number - called, cpu_s() - used_s
    return {"jobs_per_s": done / took_s, "calls_per_job": called / done, "cpu_us_per_job": used_s / done * 1e6}


async def latency(url: str, number: float) -> dict[str, Any]:
    """From the call of `enqueue` to the first line of the job, one at a time, the worker idle."""
    async with opened(url) as (_, queue), working(url):
        await asyncio.sleep(0.5)
        for count in range(1, int(number) + 1):
            await queue.enqueue("timed", {"at_s": time.time()})
            await until(lambda count=count: len(jobs_here.Seen.late_s) >= count)
            await asyncio.sleep(0.01)
    return {f"p{share:g}_ms": percentile_ms(jobs_here.Seen.late_s, share / 100) for share in (50, 99)}


async def chains(url: str, number: float) -> dict[str, Any]:
    """From the last line of a step to the first line of the next, one chain at a time, the worker idle before it."""
    async with opened(url) as (_, queue), working(url):
        await asyncio.sleep(0.5)
        for count in range(1, int(number) + 1):
            steps = chain(jobs_here.now.s(), jobs_here.timed.s(at_s=PREVIOUS)).planned()
            await enqueue_together([(queue, step_of(job, its_flow)) for job, its_flow in flow.first_jobs(steps)])
            await until(lambda count=count: len(jobs_here.Seen.late_s) >= count)
            await asyncio.sleep(0.01)
    return {f"p{share:g}_ms": percentile_ms(jobs_here.Seen.late_s, share / 100) for share in (50, 99)}


async def cancels(url: str, number: float) -> dict[str, Any]:
    """From the call of `cancel` to the job's own end, one at a time, jobs starting and ending beside it."""
    late_s: list[float] = []
    async with opened(url) as (_, queue), working(url):
        others = asyncio.create_task(keep_busy(queue, per_s=200))
        for _ in range(int(number)):
            put = await queue.enqueue("patient", {})
            await until(lambda job_id=put.job_id: job_id in jobs_here.Seen.started)
            asked_s = time.time()
            await queue.cancel(put.job_id)
            await until(lambda job_id=put.job_id: job_id in jobs_here.Seen.cancelled_s)
            late_s.append(jobs_here.Seen.cancelled_s[put.job_id] - asked_s)
        others.cancel()
    return {f"p{share:g}_ms": percentile_ms(late_s, share / 100) for share in (50, 99)}


async def keep_busy(queue: Queue, *, per_s: float) -> None:
    """No-op jobs at a steady pace, for ever."""
    while True:
        await queue.enqueue("noop", {})
        await asyncio.sleep(1 / per_s)


async def busy(url: str, seconds: float) -> dict[str, Any]:
    """A worker with something to do for so long."""
    async with opened(url) as (_, queue), working(url):
        others = asyncio.create_task(keep_busy(queue, per_s=200))
        await asyncio.sleep(seconds)
        others.cancel()
    return {}


async def deferred(url: str, background: float, number: float) -> dict[str, Any]:
    """How late deferred jobs begin while many more are deferred behind them."""
    async with opened(url) as (_, queue):
        await fill(queue, "noop", int(background), delay_ms=3_600_000)
        async with working(url):
            first_s = time.time() + 1
            due_s = [first_s + index * 3 / number for index in range(int(number))]
            for at_s in due_s:
                run_at_ms = int(at_s * 1000)
                await queue.enqueue("timed", {"at_s": run_at_ms / 1000}, run_at_ms=run_at_ms)
            await until(lambda: len(jobs_here.Seen.late_s) >= number)
    return {f"p{share:g}_ms": percentile_ms(jobs_here.Seen.late_s, share / 100) for share in (50, 99)}


async def idle(url: str, seconds: float) -> dict[str, Any]:
    """What the whole worker process costs, all its queues, while it has nothing to do."""
    calls = Calls()
    settings = Settings(webhook_sink_port=0, data_dir=Path(tempfile.mkdtemp(prefix="errand-bench-")))
    serving = asyncio.create_task(serve(settings, discover(settings.packages), redis_url=url))
    await asyncio.sleep(START_S)
    called, used_s = calls.number, cpu_s()
    await asyncio.sleep(seconds)
    figures = {"calls_per_s": (calls.number - called) / seconds, "core_percent": (cpu_s() - used_s) / seconds * 100}
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    return figures


async def prepare(url: str, number: float) -> dict[str, Any]:
    async with opened(url) as (_, queue):
        await fill(queue, "noted", int(number))
    return {}


async def share(url: str, workers: float) -> dict[str, Any]:
    """One of so many workers on a queue; which jobs it ran, and from when to when.

    They begin together: one that still starts would take its time from the others.
    """
    calls = Calls()
    async with opened(url) as (client, _):
        await client.incr("bench:ready")
        while int(await client.get("bench:ready")) < workers:
            await asyncio.sleep(0.005)
        called, started_s = calls.number, time.time()
        async with working(url):
            while await client.zcard("arq:queue"):
                await asyncio.sleep(0.02)
            ended_s = time.time()
            called = calls.number - called
    return {"ids": jobs_here.Seen.ids, "started_s": started_s, "ended_s": ended_s, "calls": called}


async def enqueue(url: str, number: float) -> dict[str, Any]:
    """Jobs a second into the queue: one after another, a hundred callers at once, and many in a call."""
    figures = {}
    async with opened(url) as (_, queue):
        started_s = time.perf_counter()
        for _ in range(int(number) // 5):
            await queue.enqueue("noop", {})
        figures["one_by_one_per_s"] = number / 5 / (time.perf_counter() - started_s)

        async def caller() -> None:
            for _ in range(int(number) // 100):
                await queue.enqueue("noop", {})

        started_s = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(100)))
        figures["concurrent_per_s"] = number / (time.perf_counter() - started_s)
        started_s = time.perf_counter()
        for _ in range(3):
            await queue.enqueue_many("noop", [{}] * MAX_BATCH)
        figures["many_per_s"] = 3 * MAX_BATCH / (time.perf_counter() - started_s)
    return figures


async def memory(url: str, number: float) -> dict[str, Any]:
    """What queued jobs take in Redis."""
    async with opened(url) as (client, queue):
        before = (await client.info("memory"))["used_memory"]
        await fill(queue, "noop", int(number))
        after = (await client.info("memory"))["used_memory"]
    return {"bytes_per_queued_job": (after - before) / number}


if __name__ == "__main__":
    collect_less()  # as the worker's process does, once it has started
    main(
        {
            measure.__name__: measure
            for measure in (throughput, latency, chains, cancels, busy, deferred, idle, prepare, share, enqueue, memory)
        },
        uvloop.run,
    )
