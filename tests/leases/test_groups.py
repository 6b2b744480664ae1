"""Jobs of a group wait out of the way until somebody knows that there is room for some of them."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest
from arq.connections import ArqRedis

from errand.leases.groups import Groups, Released, groups_in
from errand.leases.leases import Finish, Leases
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.wire import keys
from errand.wire.records import PutBack
from tests.redis_cluster import apart
from tests.waiting import NEVER_S

QUEUE = keys.queue(keys.DEFAULT_QUEUE)
GROUP = keys.group_in_key("the endpoint a:b")
NOTE = PutBack(code="endpoint_busy", reason="it is busy", at_ms=1)
SPREAD = {"first_s": 600.0, "apart_s": 1.0}


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


@pytest.fixture
def groups(redis: ArqRedis) -> Groups:
    return Groups(redis, queue=QUEUE)


@pytest.fixture
def leases(redis: ArqRedis) -> Leases:
    return Leases(redis, queue=QUEUE, worker="one", lease_s=10)


async def claimed(leases: Leases) -> list[str]:
    return [claim.job_id for claim in (await leases.claim(100)).claims]


async def put_back(leases: Leases, number: int) -> list[str]:
    """Claims so many and puts them back; returns their ids."""
    claims = (await leases.claim(number)).claims
    options: dict[str, Any] = {"status": "deferred", "put_back": b"{}", "parked": GROUP, "give_try_back": True}
    finishes = [
        Finish(job_id=claim.job_id, token=claim.token, due_in_ms=600_000 + at, **options)
        for at, claim in enumerate(claims)
    ]
    assert all(await leases.finish(finishes))
    return [claim.job_id for claim in claims]


async def test_what_is_put_back_waits_until_there_is_room_and_then_comes_before_all_others(
    redis: ArqRedis, queue: Queue, leases: Leases, groups: Groups
) -> None:
    await queue.enqueue_many("any", [{}] * 5)
    waiting = await put_back(leases, 5)
    other = (await queue.enqueue("any", {})).job_id
    assert await groups.names() == [GROUP]
    assert await groups.release({GROUP: 2}) == {GROUP: Released(2, 3)}
    assert await redis.llen(keys.wake(QUEUE)) == 1  # type: ignore[misc]  # types both its clients
    assert await claimed(leases) == [*waiting[:2], other]
    assert await groups.release({GROUP: 100, "@none": 100}) == {GROUP: Released(3, 0), "@none": Released(0, 0)}
    assert await claimed(leases) == waiting[2:]
    assert await groups.names() == []


async def test_jobs_of_a_group_may_wait_in_several_partitions(
    redis: ArqRedis, redis_url: str, queue: Queue, leases: Leases
) -> None:
    async with aclosing(connect(apart(redis_url, 1), reply_timeout_s=NEVER_S)) as other:
        await queue.enqueue_many("any", [{}] * 2)
        await Queue(other, ended_ttl_s=60).enqueue_many("any", [{}] * 3)
        there = Leases(other, queue=QUEUE, worker="one", lease_s=10)
        first, second = await put_back(leases, 2), await put_back(there, 3)
        groups = groups_in([redis, other], queue=QUEUE)
        assert await groups.names() == [GROUP]
        assert await groups.note(GROUP, NOTE, after=0) == 3
        for client, job_id in ((redis, first[0]), (other, second[0])):
            waiting = await read_job(client, job_id)
            assert waiting is not None and waiting.put_back == NOTE
        assert await groups.release({GROUP: 3}) == {GROUP: Released(3, 2)}
        assert (await claimed(leases), await claimed(there)) == (first, second[:1])
        assert await groups.release({GROUP: 9}) == {GROUP: Released(2, 0)}
        await other.flushdb()


async def test_what_became_of_a_waiting_job_meanwhile_counts(
    redis: ArqRedis, queue: Queue, leases: Leases, groups: Groups
) -> None:
    await queue.enqueue_many("any", [{}] * 3)
    cancelled, moved, kept = await put_back(leases, 3)
    assert await queue.cancel(cancelled) == "cancelled"
    assert await queue.reschedule(moved, delay_ms=7_200_000) == "rescheduled"
    assert await groups.release({GROUP: 1}) == {GROUP: Released(1, 0)}
    assert await claimed(leases) == [kept]


async def test_nothing_is_made_due_in_a_queue_that_is_paused(
    redis: ArqRedis, queue: Queue, leases: Leases, groups: Groups
) -> None:
    await queue.enqueue("any", {})
    await put_back(leases, 1)
    await redis.set(keys.paused(QUEUE), 1)
    assert await groups.release({GROUP: 1}) == {GROUP: Released(0, 1)}


async def test_those_of_a_group_that_are_due_are_parked_without_a_claim(
    redis: ArqRedis, queue: Queue, leases: Leases, groups: Groups
) -> None:
    mine, other, running = [
        (await queue.enqueue("any", args)).job_id for args in ({"to": "a", "n": 1}, {"to": "ab"}, {"to": "a"})
    ]
    await leases.claim(3)
    await redis.delete(keys.lease(mine), keys.lease(other))
    await redis.hdel(keys.running(QUEUE), mine, other)  # type: ignore[misc]  # types both its clients
    await redis.zadd(QUEUE, dict.fromkeys((mine, other, running), 1))
    follows = ',"a":[],"k":{"to":"a"'
    assert await groups.park_due(GROUP, "any", follows=follows, note=NOTE, **SPREAD) == (3, 1)
    assert await groups.park_due(GROUP, "other", follows=follows, note=NOTE, **SPREAD) == (2, 0)
    waiting = await read_job(redis, mine)
    assert waiting is not None and waiting.status == "deferred" and waiting.put_back == NOTE
    assert await groups.names() == [GROUP] and await redis.zrange(keys.in_group(QUEUE, GROUP), 0, -1) == [mine.encode()]


@pytest.mark.parametrize("key", [keys.groups(QUEUE), keys.in_group(QUEUE, GROUP)])
async def test_a_key_that_another_program_has_written_stops_nothing(
    redis: ArqRedis, queue: Queue, leases: Leases, groups: Groups, key: str
) -> None:
    await redis.lpush(key, "x")  # type: ignore[misc]
    await groups.names()
    await groups.release({GROUP: 1})
    await redis.delete(key)
    await redis.lpush(key, "x")  # type: ignore[misc]
    await queue.enqueue("any", {})
    await put_back(leases, 1)
    assert await groups.release({GROUP: 1}) == {GROUP: Released(1, 0)}
