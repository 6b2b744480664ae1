"""What the watchdog does while a job blocks the loop: it blames that job alone, keeps leases, ends what is too late."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import func
from redis import Redis

from errand.job.context import Context
from errand.job.job_type import JobType, job
from errand.leases.leases import Leases
from errand.queue.queue import Queue
from errand.wire import keys
from errand.worker import watchdog
from errand.worker.watchdog import Watchdog
from tests.conftest import RunWorker
from tests.waiting import NEVER_S, eventually, eventually_sync
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import QUEUE, Nothing

LEASE_S = 0.6


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the watchdogs have seen, which look more often than they do else."""
    seen: list[object] = []
    look = Watchdog._look

    def noted(watching: Watchdog) -> Any:
        seen.append(look(watching))
        return seen[-1]

    monkeypatch.setattr(Watchdog, "_look", noted)
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(watchdog, "BLOCKED_S", 0.05)
    return seen


@pytest.fixture
def blocking_redis(one_server: None, redis_url: str) -> Redis:
    return Redis(unix_socket_path=redis_url.removeprefix("unix://"))


def waiting(name: str, go_on: asyncio.Event, started: list[str], **options: Any) -> JobType[Any, Any]:
    """A job type that is in nobody's way, and runs until it may go on."""

    async def wait(ctx: Context, args: Nothing) -> None:
        started.append(name)
        await asyncio.wait_for(go_on.wait(), NEVER_S)

    wait.__name__ = name
    made: JobType[Any, Any] = job(**options)(wait)
    return made


async def all_started(started: list[str], number: int) -> None:
    async def look() -> bool:
        return len(started) == number

    await eventually(look)


@pytest.mark.parametrize("of_a_job", [False, True])
async def test_a_block_is_put_down_to_the_job_whose_task_blocks_or_to_none(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, looks: list[object], of_a_job: bool
) -> None:
    """Not to the only one that runs beside it, in the same worker or in that of another queue."""
    go_on, started = asyncio.Event(), list[str]()

    async def blocks(ctx: dict[str, Any]) -> None:
        eventually_sync(lambda: len(looks) > 10)
        go_on.set()

    @job()
    async def starts(ctx: Context, args: Nothing) -> None:
        await asyncio.create_task(blocks({}))

    near, far = waiting("near", go_on, started), waiting("far", go_on, started, queue="far")
    beside = await queue.enqueue("near", {})
    elsewhere = await Queue(redis, name="far", ended_ttl_s=60).enqueue("far", {})
    async with run_worker([near, far, starts], functions=[func(blocks, name="blocks")]):
        await all_started(started, 2)
        blocking = await queue.enqueue("starts" if of_a_job else "blocks", {})
        ends = [await ended(redis, put.job_id) for put in (beside, elsewhere, blocking)]
    blocked = [attempt.blocked is not None for done in ends for attempt in done.attempts]
    assert blocked == ([False, False, True] if of_a_job else [False, False])


async def test_a_blocked_worker_gives_up_the_leases_of_jobs_past_their_limits_and_no_others(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, looks: list[object], blocking_redis: Redis
) -> None:
    go_on, started = asyncio.Event(), list[str]()
    within, past = waiting("within", go_on, started), waiting("past", go_on, started, timeout_s=0.4, max_tries=1)
    puts = {name: await queue.enqueue(name, {}) for name in ("within", "past")}

    def has_lapsed(job_id: str) -> bool:
        return not blocking_redis.exists(keys.lease(job_id))

    async def plain(ctx: dict[str, Any]) -> bool:
        assert ctx["job_id"] in worker._watchdog._within_limits()
        for job_id in (puts["past"].job_id, ctx["job_id"]):
            eventually_sync(lambda job_id=job_id: has_lapsed(job_id))  # type: ignore[misc]
        go_on.set()
        return has_lapsed(puts["within"].job_id)

    options = {"functions": [func(plain, name="plain")], "lease_s": LEASE_S, "job_timeout": 1.2}
    async with run_worker([within, past], **options) as worker:
        await all_started(started, 2)
        blocking = await queue.enqueue("plain", {})
        assert (await ended(redis, blocking.job_id)).result is False


@pytest.mark.parametrize("refused", [False, True])
async def test_the_end_of_a_job_past_its_limit_is_written_once(
    redis: ArqRedis,
    queue: Queue,
    run_worker: RunWorker,
    looks: list[object],
    blocking_redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    refused: bool,
) -> None:
    """By the watchdog; by the loop if the watchdog cannot."""
    tried, finish = threading.Event(), Leases.finish

    async def finish_unless_refused(leases: Leases, outcomes: Any) -> list[bool]:
        if refused and threading.current_thread() is not threading.main_thread():
            tried.set()
            raise ConnectionError("Redis is away")
        return await finish(leases, outcomes)

    monkeypatch.setattr(Leases, "finish", finish_unless_refused)

    @job(timeout_s=0.1, max_tries=1)
    async def blocking(ctx: Context, args: Nothing) -> None:
        done: Callable[[], Any] = tried.is_set if refused else lambda: blocking_redis.exists(keys.result(ctx.job_id))
        eventually_sync(done)

    put = await queue.enqueue("blocking", {})
    async with run_worker([blocking], lease_s=LEASE_S) as worker:
        done = await ended(redis, put.job_id)
        assert done.error is not None and done.error.type == "TimeoutError"
    assert (worker.jobs_failed, len(done.attempts)) == (1, 1)
    counted = await redis.hgetall(keys.counters(QUEUE))  # type: ignore[misc]  # redis-py types both its clients
    assert (counted[b"attempts:failed"], [name for name in counted if b"stale" in name]) == (b"1", [])
