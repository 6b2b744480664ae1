"""Jobs that end their process: given up in time, and without taking others along."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arq.connections import ArqRedis

from errand.job.context import Context
from errand.job.job_type import JobType, job
from errand.job.retry_policy import Delays
from errand.leases.leases import Leases
from errand.queue.queue import Queue
from errand.resources.openers import process_pool
from errand.wire import keys
from tests.conftest import RunWorker
from tests.resources.computations import die
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing

QUEUE = keys.queue(keys.DEFAULT_QUEUE)


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def lost(redis: ArqRedis, *, jobs: int, times: int, isolated: int = 0) -> None:
    """Claims that many jobs as workers do that die at once, and lets the leases lapse; then while they run isolated."""
    for number in range(times + isolated):
        leases = Leases(redis, queue=QUEUE, worker=f"dead-{number}", lease_s=10)
        claims = (await leases.claim(jobs)).claims
        assert len(claims) == jobs
        if number >= times:
            await asyncio.gather(*map(leases.note_isolated, claims))
        await lapse(redis, [claim.job_id for claim in claims])


async def lapse(redis: ArqRedis, job_ids: list[str]) -> None:
    """Does what the end of a lease does: its key is gone, and the job's score has passed."""
    await redis.delete(*map(keys.lease, job_ids))
    await redis.zadd(QUEUE, dict.fromkeys(job_ids, 1))


def counting(seen: list[tuple[str, int]]) -> JobType[Any, Any]:
    @job(max_tries=10)
    async def counted(ctx: Context, args: Nothing) -> None:
        seen.append((ctx.job_id, ctx.crashes))

    return counted


async def test_a_job_that_three_workers_died_under_while_it_ran_isolated_is_dead_with_that_reason(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    seen: list[tuple[str, int]] = []
    put = await queue.enqueue("counted", {})
    await lost(redis, jobs=1, times=2, isolated=3)
    async with run_worker([counting(seen)]):
        done = await ended(redis, put.job_id)
    assert (done.status, seen) == ("failed", [])
    assert done.error is not None and done.error.type == "Crashed"
    assert "3 of its attempts ended with the process they ran in" in done.error.message
    assert [attempt.outcome for attempt in done.attempts] == ["lost"] * 5
    errors = [attempt.error.type for attempt in done.attempts if attempt.error]
    assert errors == ["WorkerLost"] * 2 + ["IsolatedWorkerLost"] * 3


async def test_only_deaths_while_it_ran_isolated_count_against_a_job(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    seen: list[tuple[str, int]] = []
    put = await queue.enqueue("counted", {})
    await lost(redis, jobs=1, times=7, isolated=2)
    async with run_worker([counting(seen)]):
        done = await ended(redis, put.job_id)
    assert (done.status, seen) == ("succeeded", [(put.job_id, 2)])


async def test_how_many_crashes_are_allowed_can_be_set(redis: ArqRedis, queue: Queue, run_worker: RunWorker) -> None:
    put = await queue.enqueue("counted", {})
    await lost(redis, jobs=1, times=2, isolated=1)
    async with run_worker([counting([])], max_crashes=1):
        done = await ended(redis, put.job_id)
    assert done.error is not None and done.error.type == "Crashed"


async def test_suspects_run_one_after_the_other_and_others_beside_them(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    running: set[str] = set()
    together: list[int] = []

    @job(max_tries=10)
    async def slow(ctx: Context, args: Nothing) -> int:
        if ctx.attempt < 3:
            await eventually(_true_when(lambda: bool(running)))
            return 0
        running.add(ctx.job_id)
        together.append(len(running))
        await asyncio.sleep(0.02)
        running.discard(ctx.job_id)
        return ctx.attempt

    suspects = [await queue.enqueue("slow", {}) for _ in range(5)]
    await lost(redis, jobs=5, times=2)
    beside = await queue.enqueue("slow", {})
    async with run_worker([slow]):
        ends = [await ended(redis, put.job_id) for put in suspects]
        assert (await ended(redis, beside.job_id)).status == "succeeded"
    assert [(done.status, done.result) for done in ends] == [("succeeded", 3)] * 5, "waiting costs no try"
    assert max(together) == 1


def _true_when(condition: Any) -> Any:
    async def look() -> bool:
        return bool(condition())

    return look


async def test_a_worker_that_lives_on_was_no_crash(redis: ArqRedis, queue: Queue, run_worker: RunWorker) -> None:
    """It was paused, or cut off, past its lease: its next heartbeat, or its outcome, says so."""
    seen: list[tuple[str, int]] = []
    put = await queue.enqueue("counted", {})
    for number in range(6):
        paused = Leases(redis, queue=QUEUE, worker=f"paused-{number}", lease_s=10)
        (claim,) = (await paused.claim(1)).claims
        assert claim.losses <= 1, "the last one has not been heard of yet"
        await lapse(redis, [put.job_id])
        (other,) = (await Leases(redis, queue=QUEUE, worker="other", lease_s=10).claim(1)).claims
        if number % 2:
            assert (await paused.renew({claim.job_id: claim.token}, {})).lost == [put.job_id]
        else:
            assert await paused.finish([claim.handed_back()]) == [False]
        await Leases(redis, queue=QUEUE, worker="other", lease_s=10).finish([other.handed_back()])
    async with run_worker([counting(seen)]):
        done = await ended(redis, put.job_id)
    assert (done.status, seen) == ("succeeded", [(put.job_id, 0)])
    assert {attempt.error.type for attempt in done.attempts if attempt.error} == {"LeaseLost"}


async def test_after_a_first_crash_no_job_waits_for_another(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    all_run = asyncio.Barrier(5)

    @job()
    async def meeting(ctx: Context, args: Nothing) -> None:
        await asyncio.wait_for(all_run.wait(), 60)

    puts = [await queue.enqueue("meeting", {}) for _ in range(5)]
    await lost(redis, jobs=5, times=1)
    async with run_worker([meeting]):
        assert [(await ended(redis, put.job_id)).status for put in puts] == ["succeeded"] * 5


async def test_a_job_that_ends_the_pools_process_three_times_is_dead_and_the_pool_lives(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job(uses=[process_pool], max_tries=10, retry=Delays([0]))
    async def deadly(ctx: Context, args: Nothing) -> None:
        await ctx.use(process_pool).run(10, die)

    @job(uses=[process_pool])
    async def harmless(ctx: Context, args: Nothing) -> int:
        return await ctx.use(process_pool).run(10, sum, [20, 22])

    poison = await queue.enqueue("deadly", {})
    async with run_worker([deadly, harmless]):
        dead = await ended(redis, poison.job_id)
        good = await queue.enqueue("harmless", {})
        assert (await ended(redis, good.job_id)).result == 42
    assert [attempt.outcome for attempt in dead.attempts] == ["crashed", "crashed", "failed"]
    assert dead.error is not None and dead.error.type == "Crashed"
    assert "died with exit code -9" in dead.error.message
