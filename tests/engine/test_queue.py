"""The producer's side: grouped calls, many at once, wake-ups, pauses."""

from __future__ import annotations

import asyncio

import pytest
from arq.connections import ArqRedis

from jobs.engine import keys
from jobs.engine.queue import JobExists, Queue
from jobs.engine.snapshot import read_job


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def script_calls(redis: ArqRedis) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def test_concurrent_calls_share_script_calls(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {})
    before = await script_calls(redis)
    put = await asyncio.gather(*(queue.enqueue("any", {"number": number}) for number in range(500)))
    assert await script_calls(redis) - before <= 2, "the first goes alone, the others that wait meanwhile together"
    assert len({one.job_id for one in put}) == 500 and await redis.zcard(queue.key) == 501
    job = await read_job(redis, put[123].job_id)
    assert job is not None and job.args == {"number": 123}


async def test_each_caller_of_a_shared_call_has_its_own_answer(queue: Queue) -> None:
    ids = ["a", "b", "a", "c", "b"]
    answers = await asyncio.gather(*(queue.enqueue("any", {}, job_id=job_id) for job_id in ids), return_exceptions=True)
    assert [isinstance(answer, JobExists) for answer in answers] == [False, False, True, False, True]


async def test_a_caller_that_gives_up_harms_no_other(redis: ArqRedis, queue: Queue) -> None:
    calls = [asyncio.create_task(queue.enqueue("any", {})) for _ in range(20)]
    await asyncio.sleep(0)
    calls[0].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True] + [False] * 19
    assert await redis.zcard(queue.key) == 20


async def test_an_error_reaches_every_caller_and_the_queue_goes_on(redis: ArqRedis, queue: Queue) -> None:
    await redis.set(queue.key, "no sorted set")
    answers = await asyncio.gather(*(queue.enqueue("any", {}) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(answer, Exception) for answer in answers)
    await redis.delete(queue.key)
    await queue.enqueue("any", {})


async def test_many_go_in_one_call_in_their_order(redis: ArqRedis, queue: Queue) -> None:
    before = await script_calls(redis)
    put = await queue.enqueue_many("any", [{"number": number} for number in range(10_000)])
    assert await script_calls(redis) - before == 1
    assert [name.decode() for name in await redis.zrange(queue.key, 0, -1)] == [one.job_id for one in put]
    with pytest.raises(ValueError, match="over the limit of 10000"):
        await queue.enqueue_many("any", [{}] * 10_001)
    assert await queue.enqueue_many("any", []) == []


async def test_one_token_waits_for_a_worker_however_many_jobs_came(redis: ArqRedis, queue: Queue) -> None:
    for _ in range(3):
        await queue.enqueue("any", {})
    assert await redis.lrange(keys.wake(queue.key), 0, -1) == [b"1"]  # type: ignore[misc]  # both clients, one type


async def test_a_deferred_job_wakes_a_worker_only_where_it_is_due_first(redis: ArqRedis, queue: Queue) -> None:
    async def token_after(delay_ms: int) -> int:
        await redis.delete(keys.wake(queue.key))
        await queue.enqueue("any", {}, delay_ms=delay_ms)
        return int(await redis.exists(keys.wake(queue.key)))

    assert [await token_after(delay_ms) for delay_ms in (50_000, 60_000, 40_000)] == [1, 0, 1]


async def test_the_servers_clock_decides_what_is_due(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {}, delay_ms=1000)
    seconds, micros = await redis.time()
    assert 0 <= seconds * 1000 + micros // 1000 + 1000 - put.due_at_ms < 500
    assert put.deferred and await redis.zscore(queue.key, put.job_id) == put.due_at_ms
    past = await queue.enqueue("any", {}, run_at_ms=5)
    assert not past.deferred and past.due_at_ms > 5, "the past is now: it does not jump the queue"


async def test_changes_are_told_on_the_queues_channel(redis: ArqRedis, queue: Queue) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(keys.events(queue.key))
        await heard.get_message(timeout=1)
        now, later = await queue.enqueue("any", {}), await queue.enqueue("any", {}, delay_ms=1000)
        await queue.cancel(later.job_id)
        told = [(await heard.get_message(timeout=1) or {})["data"].decode() for _ in range(3)]
    assert told == [f"queued {now.job_id}", f"deferred {later.job_id}", f"cancelled {later.job_id}"]
