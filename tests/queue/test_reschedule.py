"""A job that waits is given another time: by real workers, with the keys that others hold on it."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis

from errand.job.context import Context
from errand.job.job_type import job
from errand.job.retry_policy import Delays
from errand.leases.leases import Leases
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.queue.uniqueness import UNTIL_END_LIMIT_MS, NotUnique, Unique
from errand.wire import keys
from tests.conftest import RunWorker
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing

HOUR_MS = 3_600_000


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def due_in_ms(redis: ArqRedis, queue: Queue, job_id: str) -> float:
    seconds, micros = await redis.time()
    score = await redis.zscore(queue.key, job_id)
    assert score is not None
    return float(score) - (int(seconds) * 1000 + int(micros) / 1000)


@pytest.mark.parametrize("first_delay_ms", [0, 2 * HOUR_MS])
async def test_a_job_is_moved_to_a_later_or_an_earlier_time(redis: ArqRedis, queue: Queue, first_delay_ms: int) -> None:
    put = await queue.enqueue("any", {}, delay_ms=first_delay_ms)
    assert await queue.reschedule(put.job_id, delay_ms=HOUR_MS) == "rescheduled"
    assert HOUR_MS - 5_000 < await due_in_ms(redis, queue, put.job_id) <= HOUR_MS
    assert await queue.reschedule(put.job_id, run_at_ms=put.enqueued_at_ms + 3 * HOUR_MS) == "rescheduled"
    assert await redis.zscore(queue.key, put.job_id) == put.enqueued_at_ms + 3 * HOUR_MS


async def test_a_job_that_becomes_due_wakes_an_idle_worker(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job()
    async def quick(ctx: Context, args: Nothing) -> str:
        return "done"

    put = await queue.enqueue("quick", {}, delay_ms=HOUR_MS)
    async with run_worker([quick], poll_delay=60):

        async def rests() -> bool:
            return any(client["cmd"] == "blpop" for client in await redis.client_list())

        await eventually(rests)
        assert await queue.reschedule(put.job_id) == "rescheduled"
        assert (await ended(redis, put.job_id)).result == "done"


async def test_who_sleeps_until_a_later_job_is_told_of_one_that_comes_sooner(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {}, delay_ms=HOUR_MS)
    put = await queue.enqueue("any", {}, delay_ms=2 * HOUR_MS)
    await redis.delete(keys.wake(queue.key))
    await queue.reschedule(put.job_id, delay_ms=2 * HOUR_MS)
    assert await redis.llen(keys.wake(queue.key)) == 0  # type: ignore[misc]  # both clients, one type
    await queue.reschedule(put.job_id, delay_ms=1_000)
    assert await redis.llen(keys.wake(queue.key)) == 1  # type: ignore[misc]  # both clients, one type


async def test_a_job_that_waits_for_its_next_attempt_keeps_its_story(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job(retry=Delays([600]))
    async def once_bad(ctx: Context, args: Nothing) -> int:
        if ctx.attempt == 1:
            raise ValueError("not yet")
        return ctx.attempt

    async with run_worker([once_bad]):
        put = await queue.enqueue("once_bad", {})

        async def failed() -> bool:
            seen = await read_job(redis, put.job_id)
            return seen is not None and bool(seen.attempts)

        await eventually(failed)
        assert await queue.reschedule(put.job_id) == "rescheduled"
        done = await ended(redis, put.job_id)
    assert (done.result, [attempt.outcome for attempt in done.attempts]) == (2, ["retry", "succeeded"])


async def test_others_are_told_what_they_are(redis: ArqRedis, queue: Queue) -> None:
    assert await queue.reschedule("nope") == "unknown"
    put = await queue.enqueue("any", {})
    (claim,) = (await Leases(redis, queue=queue.key, worker="one", lease_s=10).claim(1)).claims
    score = await redis.zscore(queue.key, put.job_id)
    assert await queue.reschedule(put.job_id, delay_ms=HOUR_MS) == "in_progress"
    assert await redis.zscore(queue.key, put.job_id) == score
    assert await redis.get(keys.lease(put.job_id)) == claim.token.encode()
    gone = await queue.enqueue("any", {})
    await queue.cancel(gone.job_id)
    assert await queue.reschedule(gone.job_id) == "ended"


async def test_a_unique_key_is_held_for_as_long_as_its_job_waits(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {}, unique=Unique(key="user-7"))
    marker = keys.unique(queue.key, "any", "user-7")
    much_later_ms = 3 * UNTIL_END_LIMIT_MS
    await queue.reschedule(put.job_id, delay_ms=much_later_ms)
    assert await redis.pttl(marker) > much_later_ms
    await queue.reschedule(put.job_id, delay_ms=HOUR_MS)
    assert await redis.pttl(marker) > much_later_ms, "a marker that lasts too long does no harm"
    with pytest.raises(NotUnique):
        await queue.enqueue("any", {}, unique=Unique(key="user-7"))


async def test_a_key_that_is_held_for_a_time_or_by_another_is_left_alone(redis: ArqRedis, queue: Queue) -> None:
    timed = await queue.enqueue("any", {}, unique=Unique(key="a", for_s=60))
    await queue.reschedule(timed.job_id, delay_ms=HOUR_MS)
    assert 0 < await redis.pttl(keys.unique(queue.key, "any", "a")) <= 60_000
    mine = await queue.enqueue("any", {}, unique=Unique(key="b"))
    await redis.set(keys.unique(queue.key, "any", "b"), "end another", px=60_000)
    await queue.reschedule(mine.job_id, delay_ms=HOUR_MS)
    assert 0 < await redis.pttl(keys.unique(queue.key, "any", "b")) <= 60_000


async def test_a_stock_producers_body_outlives_the_new_time(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    await redis.pexpire(keys.body(put.job_id), 60_000)
    await queue.reschedule(put.job_id, delay_ms=HOUR_MS)
    assert await redis.pttl(keys.body(put.job_id)) > HOUR_MS


async def test_whoever_watches_hears_of_it(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    async with redis.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(keys.events(queue.key))
        await heard.get_message(ignore_subscribe_messages=True, timeout=60)
        await queue.reschedule(put.job_id, delay_ms=HOUR_MS)

        async def message() -> bytes | None:
            said = await heard.get_message(timeout=60)
            return bytes(said["data"]) if said else None

        assert await eventually(message) == f"deferred {put.job_id}".encode()
