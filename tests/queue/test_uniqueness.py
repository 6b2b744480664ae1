"""A unique key has one holder: until its job ends, or for a while."""

from __future__ import annotations

import asyncio

import pytest
from arq.connections import ArqRedis

from errand.monitor.job_snapshot import read_job
from errand.queue.idempotency import Idempotency
from errand.queue.new_job import Enqueued, JobExists
from errand.queue.queue import Queue
from errand.queue.uniqueness import NotUnique, Unique
from errand.wire import keys

KEY = Unique(key="user 7")
GIVES_WAY = Unique(key="user 7", replace=True)


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def begin(redis: ArqRedis, job_id: str) -> None:
    """As a worker does."""
    await redis.set(keys.lease(job_id), "worker#1")


async def finish(redis: ArqRedis, job_id: str) -> None:
    """As every worker does, a stock one included: the body goes, a result stays."""
    await redis.delete(keys.body(job_id), keys.lease(job_id))
    await redis.set(keys.result(job_id), b"{}")


async def refused(queue: Queue, unique: Unique = KEY, type_name: str = "any") -> NotUnique:
    with pytest.raises(NotUnique) as error:
        await queue.enqueue(type_name, {}, unique=unique)
    return error.value


async def test_a_second_job_is_refused_with_the_holder_named_until_that_has_ended(
    redis: ArqRedis, queue: Queue
) -> None:
    first = await queue.enqueue("any", {}, unique=KEY)
    conflict = await refused(queue)
    assert (conflict.job_id, conflict.state) == (first.job_id, "waiting")
    await begin(redis, first.job_id)
    assert (await refused(queue)).state == "running"
    await finish(redis, first.job_id)
    assert (await queue.enqueue("any", {}, unique=KEY)).job_id != first.job_id


async def test_a_key_counts_within_its_type_and_its_queue(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {}, unique=KEY)
    await queue.enqueue("other", {}, unique=KEY)
    await queue.enqueue("any", {}, unique=Unique(key="user 8"))
    await Queue(redis, name="elsewhere", ended_ttl_s=60).enqueue("any", {}, unique=KEY)


async def test_of_many_calls_at_once_one_puts_its_job(redis: ArqRedis, queue: Queue) -> None:
    answers = await asyncio.gather(*(queue.enqueue("any", {}, unique=KEY) for _ in range(50)), return_exceptions=True)
    (put,) = (answer for answer in answers if isinstance(answer, Enqueued))
    assert {answer.job_id for answer in answers if isinstance(answer, NotUnique)} == {put.job_id}
    assert await redis.zcard(queue.key) == 1


async def test_for_a_while_the_key_is_held_past_the_end_and_no_longer(redis: ArqRedis, queue: Queue) -> None:
    an_hour = Unique(key="user 7", for_s=3600)
    first = await queue.enqueue("any", {}, unique=an_hour)
    await finish(redis, first.job_id)
    conflict = await refused(queue)
    assert (conflict.job_id, conflict.state) == (first.job_id, "ended")
    marker = keys.unique(queue.key, "any", "user 7")
    assert 3_590_000 < await redis.pttl(marker) <= 3_600_000
    await redis.delete(marker)  # as its expiry does
    await queue.enqueue("any", {}, unique=an_hour)


async def test_a_job_that_is_forgotten_holds_nothing(redis: ArqRedis, queue: Queue) -> None:
    first = await queue.enqueue("any", {}, unique=Unique(key="user 7", for_s=3600))
    await redis.delete(keys.body(first.job_id), keys.result(first.job_id))
    await queue.enqueue("any", {}, unique=KEY)


async def test_a_marker_does_not_stay_for_ever_and_is_renewed_where_it_matters(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {}, unique=KEY, delay_ms=86_400_000)
    marker = keys.unique(queue.key, "any", "user 7")
    week_ms, day_ms = 7 * 86_400_000, 86_400_000
    assert week_ms < await redis.pttl(marker) <= week_ms + day_ms, "it counts from when the job is due"
    await refused(queue)
    assert await redis.pttl(marker) > week_ms, "to be asked never shortens it"
    await redis.pexpire(marker, 1000)
    await refused(queue)
    assert await redis.pttl(marker) > week_ms - 10_000


async def test_a_waiting_job_gives_way_in_one_step(redis: ArqRedis, queue: Queue) -> None:
    first = await queue.enqueue("any", {"n": 1}, unique=KEY, delay_ms=60_000)
    async with redis.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(keys.events(queue.key))
        await heard.get_message(timeout=60)
        second = await queue.enqueue("any", {"n": 2}, unique=GIVES_WAY)
        told = [(await heard.get_message(timeout=60) or {})["data"].decode() for _ in range(2)]
    assert told == [f"cancelled {first.job_id}", f"queued {second.job_id}"]
    old, new = await read_job(redis, first.job_id), await read_job(redis, second.job_id)
    assert old is not None and new is not None
    assert (old.status, new.status, new.args) == ("cancelled", "queued", {"n": 2})
    assert (await refused(queue)).job_id == second.job_id
    assert [name.decode() for name in await redis.zrange(queue.key, 0, -1)] == [second.job_id]


async def test_a_waiting_job_gives_way_also_within_its_while(redis: ArqRedis, queue: Queue) -> None:
    first = await queue.enqueue("any", {}, unique=Unique(key="user 7", for_s=60))
    second = await queue.enqueue("any", {}, unique=Unique(key="user 7", for_s=60, replace=True))
    assert [name.decode() for name in await redis.zrange(queue.key, 0, -1)] == [second.job_id] != [first.job_id]
    assert (await refused(queue)).job_id == second.job_id


async def test_a_running_or_ended_job_gives_no_way_and_is_left_alone(redis: ArqRedis, queue: Queue) -> None:
    first = await queue.enqueue("any", {}, unique=Unique(key="user 7", for_s=60))
    await begin(redis, first.job_id)
    assert (await refused(queue, GIVES_WAY)).state == "running"
    assert not await redis.exists(keys.cancels(queue.key)), "its worker is told nothing"
    await finish(redis, first.job_id)
    assert (await refused(queue, GIVES_WAY)).state == "ended"


@pytest.mark.parametrize("holder", [b"1", b"worker#1"], ids=["a stock worker", "ours"])
async def test_a_job_that_begins_at_the_last_moment_is_spared(
    redis: ArqRedis, queue: Queue, monkeypatch: pytest.MonkeyPatch, holder: bytes
) -> None:
    first = await queue.enqueue("any", {}, unique=KEY)
    read_outcome = queue._cancelled_outcome

    async def begins_meanwhile(job_id: str) -> bytes:
        outcome = await read_outcome(job_id)
        await redis.set(keys.lease(job_id), holder)
        return outcome

    monkeypatch.setattr(queue, "_cancelled_outcome", begins_meanwhile)
    assert (await refused(queue, GIVES_WAY)).state == "running"
    assert await redis.exists(keys.body(first.job_id)) and await redis.zcard(queue.key) == 1
    assert not await redis.exists(keys.cancels(queue.key)), "its worker is told nothing"


async def test_none_gives_way_to_a_job_that_is_not_put(redis: ArqRedis, queue: Queue) -> None:
    other = await queue.enqueue("any", {}, job_id="taken")
    first = await queue.enqueue("any", {}, job_id="holder", unique=KEY)
    for taken in (other, first):
        with pytest.raises(JobExists):
            await queue.enqueue("any", {}, job_id=taken.job_id, unique=GIVES_WAY)
    assert await redis.zcard(queue.key) == 2
    full = Queue(redis, ended_ttl_s=60, limit=1)  # it has more than it may: what follows other jobs is put all the same
    second = await full.enqueue("any", {}, unique=GIVES_WAY)
    assert (second.replaced, await redis.zcard(queue.key)) == (first.job_id, 2)


async def test_of_many_replacements_at_once_one_job_is_left(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {}, unique=KEY)
    await asyncio.gather(*(queue.enqueue("any", {}, unique=GIVES_WAY) for _ in range(3)), return_exceptions=True)
    assert await redis.zcard(queue.key) == 1


async def test_a_replacement_under_an_idempotency_key_happens_once(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {}, unique=KEY)
    once = Idempotency(key="k", fingerprint="f", ttl_s=60)
    second = await queue.enqueue("any", {}, unique=GIVES_WAY, idempotency=once)
    again = await queue.enqueue("any", {}, unique=GIVES_WAY, idempotency=once)
    assert (again.job_id, again.replayed) == (second.job_id, True)
    job = await read_job(redis, second.job_id)
    assert job is not None and job.status == "queued"
