"""The small case, each part alone and both beside each other: who puts jobs, and the worker that runs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from arq.connections import ArqRedis

from errand.queue.queue import Queue
from tests.bench.candidate import cpu_s, main
from tests.bench.errand_side import fill, opened, until, working

CALLERS = 100
READY = "bench:ready"
LOOK_S = 0.02


async def put(url: str, number: float, beside: float = 0) -> dict[str, Any]:
    """A hundred callers put so many jobs, if `beside` is 1 as soon as the worker is there."""
    async with opened(url) as (client, queue):
        if beside:
            await _wait_for_the_worker(client)
        started_s = time.time()
        async with _costs(client, number) as figures:
            await asyncio.gather(*(_caller(queue, int(number) // CALLERS) for _ in range(CALLERS)))
    return {**figures, "started_s": started_s}


async def run(url: str, number: float) -> dict[str, Any]:
    """A worker runs so many jobs, which all wait for it."""
    async with opened(url) as (client, queue):
        empty = await _memory(client)
        await fill(queue, "noop", int(number))
        full = await _memory(client)
        async with working(url) as worker, _costs(client, number) as figures:
            await until(lambda: worker.jobs_complete >= number)
        kept = await _memory(client)
    return {**figures, "queued_bytes": (full - empty) / number, "kept_bytes": (kept - empty) / number}


async def work(url: str, number: float) -> dict[str, Any]:
    """A worker runs so many jobs as they come."""
    deepest = 0
    async with opened(url) as (client, _), working(url) as worker:
        await client.set(READY, 1)
        used_s, of_redis_s = cpu_s(), await _redis_cpu_s(client)
        while worker.jobs_complete < number:
            deepest = max(deepest, await client.zcard("arq:queue"))
            await asyncio.sleep(LOOK_S)
        used_s, of_redis_s = cpu_s() - used_s, await _redis_cpu_s(client) - of_redis_s
        return {"ended_s": time.time(), "deepest": deepest, "used_s": used_s + of_redis_s}


@asynccontextmanager
async def _costs(client: ArqRedis, number: float) -> AsyncIterator[dict[str, float]]:
    """Processor time of this process and of Redis for each job that is handled within, and the rate."""
    figures: dict[str, float] = {}
    mine_s, its_s = cpu_s(), await _redis_cpu_s(client)
    started_s = time.perf_counter()
    yield figures
    figures["per_s"] = number / (time.perf_counter() - started_s)
    figures["process_us"] = (cpu_s() - mine_s) / number * 1e6
    figures["redis_us"] = (await _redis_cpu_s(client) - its_s) / number * 1e6


async def _caller(queue: Queue, number: int) -> None:
    for _ in range(number):
        await queue.enqueue("noop", {})


async def _wait_for_the_worker(client: ArqRedis) -> None:
    while not await client.exists(READY):
        await asyncio.sleep(LOOK_S)


async def _redis_cpu_s(client: ArqRedis) -> float:
    used = await client.info("cpu")
    return float(used["used_cpu_sys"] + used["used_cpu_user"])


async def _memory(client: ArqRedis) -> float:
    return float((await client.info("memory"))["used_memory"])


if __name__ == "__main__":
    main({measure.__name__: measure for measure in (put, run, work)}, uvloop.run)
