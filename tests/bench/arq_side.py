"""Stock Arq under the same measures, as shipped or tuned: `max_jobs=100, poll_delay=0.01`."""

from __future__ import annotations

import asyncio
import contextlib
import logging.config
import time
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.logs import default_log_config
from arq.worker import Worker, func

from tests.bench.candidate import main, percentile_ms

TUNED: dict[str, Any] = {"max_jobs": 100, "poll_delay": 0.01}
late_s: list[float] = []


async def noop(ctx: dict[str, Any]) -> None:
    return None


async def timed(ctx: dict[str, Any], at_s: float) -> None:
    late_s.append(time.time() - at_s)


def worker_of(url: str, *, tuned: bool) -> Worker:
    """With Arq's own production logging, as its command line sets it up."""
    logging.config.dictConfig(default_log_config(verbose=False))
    settings = RedisSettings.from_dsn(url)
    functions = [func(noop, name="noop"), func(timed, name="timed")]
    return Worker(functions, redis_settings=settings, handle_signals=False, **(TUNED if tuned else {}))


async def fill(pool: ArqRedis, number: int) -> None:
    for start in range(0, number, 100):
        await asyncio.gather(*(pool.enqueue_job("noop") for _ in range(min(100, number - start))))


async def closed(worker: Worker, running: asyncio.Task[None]) -> None:
    """A worker that is cut short in its last round raises out of its own close."""
    with contextlib.suppress(asyncio.CancelledError):
        await worker.close()
    await asyncio.gather(running, return_exceptions=True)


async def throughput(url: str, number: float, tuned: float) -> dict[str, Any]:
    pool = await create_pool(RedisSettings.from_dsn(url))
    await fill(pool, int(number))
    worker = worker_of(url, tuned=bool(tuned))
    started_s = time.perf_counter()
    running = asyncio.create_task(worker.async_run())
    while worker.jobs_complete < number:
        await asyncio.sleep(0.005)
    took_s = time.perf_counter() - started_s
    await closed(worker, running)
    await pool.aclose()
    return {"jobs_per_s": number / took_s}


async def latency(url: str, number: float, tuned: float) -> dict[str, Any]:
    pool = await create_pool(RedisSettings.from_dsn(url))
    worker = worker_of(url, tuned=bool(tuned))
    running = asyncio.create_task(worker.async_run())
    await asyncio.sleep(0.5)
    for count in range(1, int(number) + 1):
        await pool.enqueue_job("timed", time.time())
        while len(late_s) < count:
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.013)  # out of step with its polling
    await closed(worker, running)
    await pool.aclose()
    return {f"p{share:g}_ms": percentile_ms(late_s, share / 100) for share in (50, 99)}


async def enqueue(url: str, number: float) -> dict[str, Any]:
    """Jobs a second into the queue, a hundred callers at once, and what a queued job takes in memory."""
    pool = await create_pool(RedisSettings.from_dsn(url))
    before = (await pool.info("memory"))["used_memory"]
    started_s = time.perf_counter()
    await fill(pool, int(number))
    took_s = time.perf_counter() - started_s
    after = (await pool.info("memory"))["used_memory"]
    await pool.aclose()
    return {"concurrent_per_s": number / took_s, "bytes_per_queued_job": (after - before) / number}


if __name__ == "__main__":
    main({"throughput": throughput, "latency": latency, "enqueue": enqueue}, uvloop.run)
