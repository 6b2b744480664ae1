"""What wakes a worker, and the claim that a wake-up brings with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from arq.connections import ArqRedis

from errand.job.context import Context
from errand.job.job_type import job
from errand.leases import wakeups
from errand.leases.leases import Leases, Woken
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.wire import keys
from tests.conftest import RunWorker
from tests.waiting import eventually
from tests.worker.test_crashes import lapse
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing

QUEUE = keys.queue(keys.DEFAULT_QUEUE)
NEVER_S = 3600.0
"""A worker that polls this seldom does only what a wake-up made it do."""


@job()
async def nothing(ctx: Context, args: Nothing) -> None: ...


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def listens(redis: ArqRedis, *, workers: int = 1) -> None:
    """Returns when that many workers are blocked waiting for a wake-up."""

    async def blocked() -> bool:
        return int((await redis.info("clients"))["blocked_clients"]) >= workers

    await eventually(blocked)


async def test_a_wake_up_brings_its_jobs_without_another_claim(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    async with run_worker([nothing], poll_delay=NEVER_S):
        # the first claim of its life teaches the server the script
        await ended(redis, (await queue.enqueue("nothing", {})).job_id)
        for _ in range(3):
            await listens(redis)
            before = await calls(redis)
            await ended(redis, (await queue.enqueue("nothing", {})).job_id)
            assert await calls(redis) - before <= 3, "enqueue, claim, finish"


async def test_a_wait_that_ends_without_a_wake_up_has_looked_at_the_queue_and_no_poll_follows(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "BLOCK_S", 0.4)
    made: Counter[str] = Counter()
    for name in ("claim", "claim_when_woken"):
        monkeypatch.setattr(Leases, name, counted(getattr(Leases, name), made, name))
    async with run_worker([nothing], poll_delay=1.0):
        await ended(redis, (await queue.enqueue("nothing", {})).job_id)
        await listens(redis)
        made.clear()

        async def waited_often() -> bool:
            return made["claim_when_woken"] >= 8

        await eventually(waited_often)
    assert made["claim"] <= 1, "three seconds have passed, and each wait has ended in a claim"


def counted(call: Callable[..., Awaitable[Any]], made: Counter[str], name: str) -> Callable[..., Awaitable[Any]]:
    """The same call, counted in `made` under `name`."""

    async def made_now(*args: Any, **options: Any) -> Any:
        made[name] += 1
        return await call(*args, **options)

    return made_now


async def calls(redis: ArqRedis) -> int:
    """How many scripts were called."""
    return int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])


async def test_slots_kept_for_a_wake_up_are_used_if_jobs_come_without_one(
    redis: ArqRedis, run_worker: RunWorker
) -> None:
    all_run = asyncio.Barrier(4)

    @job()
    async def meeting(ctx: Context, args: Nothing) -> None:
        await asyncio.wait_for(all_run.wait(), 60)

    async with run_worker([meeting], max_jobs=4, poll_delay=0.1):
        await listens(redis)
        # a stock producer leaves no token
        puts = [await redis.enqueue_job("meeting") for _ in range(4)]
        for put in puts:
            assert put is not None
            assert (await ended(redis, put.job_id)).status == "succeeded"


async def test_a_worker_that_stops_hands_back_what_its_last_wake_up_brings(
    redis: ArqRedis, run_worker: RunWorker
) -> None:
    async with run_worker([nothing], poll_delay=NEVER_S):
        await listens(redis)
        put = await redis.enqueue_job("nothing")
        assert put is not None
    left = await read_job(redis, put.job_id)
    assert left is not None and (left.status, left.attempt) == ("queued", 0)
    assert await redis.exists(keys.lease(put.job_id)) == 0


async def test_jobs_claimed_behind_a_wait_run_even_if_redis_refuses_the_wait(
    redis: ArqRedis, run_worker: RunWorker
) -> None:
    """As a Redis does that forbids blocking calls, or is in the middle of a failover."""
    async with run_worker([nothing], poll_delay=NEVER_S):
        await listens(redis)
        put = await redis.enqueue_job("nothing")
        assert put is not None
        await redis.client_unblock(await _listener(redis), error=True)
        done = await ended(redis, put.job_id)
    assert (done.status, done.attempt) == ("succeeded", 1)


async def _listener(redis: ArqRedis) -> int:
    """The id of the connection that waits for a wake-up."""
    (blocked,) = [client for client in await redis.client_list() if client["cmd"] == "blpop"]
    return int(blocked["id"])


async def test_a_claim_sent_ahead_leaves_the_workers_own_jobs_alone(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("nothing", {})
    busy = Leases(redis, queue=QUEUE, worker="busy", lease_s=10)
    other = Leases(redis, queue=QUEUE, worker="other", lease_s=10)
    await busy.claim(1)
    await redis.delete(keys.wake(QUEUE))
    await lapse(redis, [put.job_id])
    assert await _at_once(redis, busy) == []
    assert await _at_once(redis, other) == [put.job_id]


async def _at_once(redis: ArqRedis, leases: Leases) -> list[str]:
    await redis.lpush(keys.own_wakeup(QUEUE, "test"), 1)  # type: ignore[misc]  # redis-py types both its clients
    woken = await leases.claim_when_woken(redis, keys.own_wakeup(QUEUE, "test"), 10, timeout_s=5)
    assert not woken.token and woken.claimed is not None
    return [claim.job_id for claim in woken.claimed.claims]


async def test_a_job_that_a_worker_hands_back_wakes_another_worker(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    started = asyncio.Event()

    @job()
    async def long(ctx: Context, args: Nothing) -> str:
        if not started.is_set():
            started.set()
            await asyncio.Event().wait()
        return "elsewhere"

    async with run_worker([long], poll_delay=NEVER_S):
        put = await queue.enqueue("long", {})
        await asyncio.wait_for(started.wait(), 60)
        idle = run_worker([long], poll_delay=NEVER_S)
        await idle.__aenter__()
        await listens(redis, workers=2)
    try:
        assert (await ended(redis, put.job_id)).result == "elsewhere"
    finally:
        await idle.__aexit__(None, None, None)


async def test_a_draining_worker_takes_no_wake_up_from_others(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    async with run_worker([nothing], poll_delay=NEVER_S) as drains:
        await listens(redis)
        async with run_worker([nothing], poll_delay=NEVER_S):
            await listens(redis, workers=2)
            drains.allow_pick_jobs = False
            drains._wakeups.stop()
            for _ in range(3):
                assert (await ended(redis, (await queue.enqueue("nothing", {})).job_id)).status == "succeeded"


async def test_a_worker_that_stops_leaves_no_entry_behind_that_was_to_end_its_wait(
    redis: ArqRedis, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended_by_a_wake_up = asyncio.Event()

    async def slow(*_: Any, **__: Any) -> Woken:
        await ended_by_a_wake_up.wait()
        return Woken(token=False, claimed=None)

    monkeypatch.setattr(Leases, "claim_when_woken", slow)
    async with run_worker([nothing], poll_delay=NEVER_S) as worker:
        await eventually(_true_when(lambda: worker._wakeups.reserved > 0))
        own_list = keys.own_wakeup(QUEUE, worker.name)
        worker._wakeups.interrupt()

        async def interrupted() -> bool:
            return bool(await redis.exists(own_list))

        await eventually(interrupted)
        ended_by_a_wake_up.set()
    assert not await redis.exists(own_list)


def _true_when(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return condition()

    return look
