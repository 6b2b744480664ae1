"""One key, one request: what the first was answered is what every later one gets."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from arq.connections import ArqRedis

from errand.queue.idempotency import Idempotency, KeyReused, RequestInFlight
from errand.queue.new_job import QueueFull
from errand.queue.queue import Queue
from errand.queue.uniqueness import NotUnique, Unique
from errand.wire import keys
from tests.queue.test_queue import calls_in_scripts, script_calls

ONCE = Idempotency(key="k", fingerprint="f", ttl_s=60, memo='{"a": "ä\n"}')


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def test_the_second_call_gets_the_first_ones_job_and_its_memo(redis: ArqRedis, queue: Queue) -> None:
    first = await queue.enqueue("any", {"n": 1}, idempotency=ONCE, delay_ms=5000)
    second = await queue.enqueue("any", {"n": 1}, idempotency=replace(ONCE, memo="other"), delay_ms=5000)
    assert second == replace(first, replayed=True, memo=ONCE.memo)
    assert first.deferred and await redis.zcard(queue.key) == 1


async def test_the_key_with_another_request_is_refused(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {}, idempotency=ONCE)
    with pytest.raises(KeyReused):
        await queue.enqueue("any", {}, idempotency=replace(ONCE, fingerprint="g"))
    with pytest.raises(KeyReused):
        await queue.enqueue_many("any", [{}, {}], idempotency=replace(ONCE, fingerprint="g"))
    assert await redis.zcard(queue.key) == 1


async def test_of_many_calls_at_once_one_puts_a_job_and_calls_without_a_key_are_not_held_up(
    redis: ArqRedis, queue: Queue
) -> None:
    await queue.enqueue("any", {})
    before = await script_calls(redis)
    others = [replace(ONCE, key=f"k{number}") for number in range(100)]
    puts = await asyncio.gather(
        *(queue.enqueue("any", {}, idempotency=one) for one in [ONCE] * 50 + others),
        *(queue.enqueue("any", {}) for _ in range(100)),
    )
    assert await script_calls(redis) - before <= 2, "with a key or without: they share their calls"
    assert len({put.job_id for put in puts[:50]}) == 1 and [put.replayed for put in puts[:50]].count(False) == 1
    assert len({put.job_id for put in puts}) == 201 == await redis.zcard(queue.key) - 1
    assert not any(put.replayed for put in puts[50:])


async def test_new_keys_that_come_together_cost_redis_two_commands_each(redis: ArqRedis, queue: Queue) -> None:
    names = "exists", "zadd", "get", "set"
    keyed = [replace(ONCE, key=f"k{number}", memo=f"{number}") for number in range(200)]
    await queue.enqueue("any", {})
    before = await calls_in_scripts(redis, *names)
    put = await asyncio.gather(*(queue.enqueue("any", {}, idempotency=one) for one in keyed))
    exists, zadd, gets, sets = (
        now - then for now, then in zip(await calls_in_scripts(redis, *names), before, strict=True)
    )
    assert exists < 10 and (zadd, gets, sets) == (1, 0, 2 * 200)
    again = await asyncio.gather(*(queue.enqueue("any", {}, idempotency=replace(one, memo="")) for one in keyed))
    assert again == [replace(one, replayed=True, memo=f"{number}") for number, one in enumerate(put)]
    assert 30_000 < await redis.pttl(keys.idempotency(queue.key, "k7")) <= 60_000


async def test_many_are_put_once_under_one_key(redis: ArqRedis, queue: Queue) -> None:
    first = await queue.enqueue_many("any", [{"n": n} for n in range(1000)], idempotency=ONCE)
    before = await script_calls(redis)
    second = await queue.enqueue_many("any", [{"n": n} for n in range(1000)], idempotency=ONCE)
    assert await script_calls(redis) - before == 1
    assert [put.job_id for put in second] == [put.job_id for put in first]
    assert all(put.replayed for put in second) and await redis.zcard(queue.key) == 1000


async def test_what_is_kept_goes_after_its_time(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {}, idempotency=ONCE)
    name = keys.idempotency(queue.key, "k")
    assert 30_000 < await redis.pttl(name) <= 60_000
    await redis.pexpire(name, 30_000)
    await queue.enqueue("any", {}, idempotency=ONCE)
    assert 0 < await redis.pttl(name) <= 30_000, "an answer that is given again lives no longer for it"


async def test_a_call_that_put_nothing_keeps_nothing(redis: ArqRedis, queue: Queue) -> None:
    holder = await queue.enqueue("any", {}, unique=Unique(key="u"))
    with pytest.raises(NotUnique):
        await queue.enqueue("any", {}, unique=Unique(key="u"), idempotency=ONCE)
    await queue.cancel(holder.job_id)
    assert not (await queue.enqueue("any", {}, unique=Unique(key="u"), idempotency=ONCE)).replayed
    assert (await queue.enqueue("any", {}, unique=Unique(key="u"), idempotency=ONCE)).replayed, "the key comes first"


async def test_a_replay_is_a_write_so_that_a_wait_behind_it_means_something(redis: ArqRedis, queue: Queue) -> None:
    await queue.enqueue("any", {}, idempotency=ONCE)
    changes = (await redis.info("persistence"))["rdb_changes_since_last_save"]
    await queue.enqueue("any", {}, idempotency=ONCE)
    assert (await redis.info("persistence"))["rdb_changes_since_last_save"] > changes


async def test_a_key_is_held_while_its_request_comes_in(redis: ArqRedis, queue: Queue) -> None:
    assert await queue.begin_request("k") is None
    with pytest.raises(RequestInFlight):
        await queue.begin_request("k")
    assert await queue.begin_request("other") is None
    assert 0 < await redis.ttl(keys.in_flight(queue.key, "k")) <= 60, "a process that dies holds it a minute"
    put = await queue.enqueue("any", {}, idempotency=ONCE)
    first = await queue.begin_request("k")
    assert first is not None, "an answer counts more than who is still at it"
    assert queue.answered_again(first.given_to("f")) == [replace(put, replayed=True, memo=ONCE.memo)]
    await queue.end_request("k")
    assert not await redis.exists(keys.in_flight(queue.key, "k"))


async def test_a_full_queue_still_gives_first_answers_again_and_keeps_nothing_of_what_it_refused(
    redis: ArqRedis,
) -> None:
    queue = Queue(redis, ended_ttl_s=60, limit=3)
    many = replace(ONCE, key="many")
    batch: list[dict[str, int]] = [{}, {}]
    first = await queue.enqueue("any", {}, idempotency=ONCE)
    put = await queue.enqueue_many("any", batch, idempotency=many)
    assert await queue.enqueue("any", {}, idempotency=ONCE) == replace(first, replayed=True, memo=ONCE.memo)
    assert [one.job_id for one in await queue.enqueue_many("any", batch, idempotency=many)] == [
        one.job_id for one in put
    ]
    with pytest.raises(QueueFull):
        await queue.enqueue_many("any", batch, idempotency=replace(ONCE, key="refused"))
    assert not await redis.exists(keys.idempotency(queue.key, "refused"))
