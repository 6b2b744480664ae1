"""Markers of effects: an effect that is done is not repeated, and an attempt that lost its lease starts none."""

from __future__ import annotations

import asyncio

import pytest
from arq.connections import ArqRedis

from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.job.job_type import job
from errand.job.once import LeaseLost
from errand.job.retry_policy import Delays
from errand.leases.leases import Leases
from errand.queue.queue import Queue
from errand.redis.outage import Outage
from errand.wire import codec, keys
from errand.worker.runners.effects import Effects
from tests.conftest import RunWorker
from tests.worker.test_crashes import lapse
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing

QUEUE = keys.queue(keys.DEFAULT_QUEUE)


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


@pytest.fixture
def effects(redis: ArqRedis) -> Effects:
    return Effects(redis, queue=QUEUE, outage=Outage())


async def kept(redis: ArqRedis, job_id: str) -> dict[str, str]:
    """The states of the job's effects."""
    known = await redis.hgetall(keys.once(job_id))  # type: ignore[misc]  # redis-py types both its clients
    return {name.decode(): codec.loads(value)["state"] for name, value in known.items()}


async def test_an_effect_that_is_done_is_known_to_every_later_attempt(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    seen: list[str] = []

    @job(retry=Delays([0]))
    async def paying(ctx: Context, args: Nothing) -> str:
        payment = await ctx.once("payment")
        seen.append(payment.state)
        if not payment.done:
            await payment.start()
            await payment.finish({"receipt": 7})
            raise Retry("something behind it failed")
        return f"receipt {payment.value['receipt']}"

    put = await queue.enqueue("paying", {})
    async with run_worker([paying]):
        done = await ended(redis, put.job_id)
    assert (done.result, seen) == ("receipt 7", ["untouched", "done"])
    assert await kept(redis, put.job_id) == {}, "a job that has succeeded leaves no marker"


async def test_an_effect_that_was_started_and_never_ended_is_known_as_uncertain(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job(retry=Delays([0]))
    async def paying(ctx: Context, args: Nothing) -> list[bool]:
        first, second = await ctx.once("first"), await ctx.once("second")
        if ctx.attempt == 1:
            await first.start()
            await second.start()
            await second.forget()
            raise Retry("cut off")
        return [first.started, second.started]

    put = await queue.enqueue("paying", {})
    async with run_worker([paying]):
        assert (await ended(redis, put.job_id)).result == [True, False]


async def test_an_attempt_that_lost_its_lease_starts_no_effect(redis: ArqRedis, queue: Queue, effects: Effects) -> None:
    put = await queue.enqueue("any", {})
    (old,) = (await Leases(redis, queue=QUEUE, worker="paused", lease_s=10).claim(1)).claims
    of_old = await effects.once(old, "payment")
    await lapse(redis, [put.job_id])
    (new,) = (await Leases(redis, queue=QUEUE, worker="other", lease_s=10).claim(1)).claims
    with pytest.raises(LeaseLost):
        await of_old.start()
    assert await kept(redis, put.job_id) == {}
    of_new = await effects.once(new, "payment")
    await of_new.start()
    await of_old.finish("too late")
    assert await kept(redis, put.job_id) == {"payment": "begun"}


async def test_an_attempt_that_a_stock_worker_has_overtaken_starts_no_effect(
    redis: ArqRedis, queue: Queue, effects: Effects
) -> None:
    put = await queue.enqueue("any", {})
    (late,) = (await Leases(redis, queue=QUEUE, worker="one", lease_s=10).claim(1)).claims
    payment = await effects.once(late, "payment")
    await redis.delete(keys.lease(put.job_id))
    await redis.incr(keys.tries(put.job_id))  # a stock worker has started it, and wants it tried again
    with pytest.raises(LeaseLost):
        await payment.start()
    assert await kept(redis, put.job_id) == {}


async def test_a_lapsed_lease_is_still_its_owners_until_somebody_claims_the_job(
    redis: ArqRedis, queue: Queue, effects: Effects
) -> None:
    put = await queue.enqueue("any", {})
    (claim,) = (await Leases(redis, queue=QUEUE, worker="paused", lease_s=10).claim(1)).claims
    await lapse(redis, [put.job_id])
    await (await effects.once(claim, "payment")).start()
    assert await kept(redis, put.job_id) == {"payment": "begun"}


async def test_a_dead_jobs_markers_are_kept_as_long_as_the_job(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job()
    async def failing(ctx: Context, args: Nothing) -> None:
        await (await ctx.once("payment")).finish()
        raise Fail("for good")

    put = await queue.enqueue("failing", {})
    async with run_worker([failing], dead_ttl_s=100):
        await ended(redis, put.job_id)
    assert await kept(redis, put.job_id) == {"payment": "done"}
    assert 90 < await redis.ttl(keys.once(put.job_id)) <= 100


async def test_a_cancelled_job_keeps_its_markers_as_long_as_it_is_known(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    """It may be replayed."""
    tried = asyncio.Event()

    @job(retry=Delays([3600]))
    async def trying(ctx: Context, args: Nothing) -> None:
        await (await ctx.once("payment")).start()
        tried.set()
        raise Retry

    put = await queue.enqueue("trying", {})
    async with run_worker([trying]):
        await asyncio.wait_for(tried.wait(), 60)
    assert await kept(redis, put.job_id) == {"payment": "begun"}
    assert await queue.cancel(put.job_id) == "cancelled"
    assert await kept(redis, put.job_id) == {"payment": "begun"}
    left_s = await redis.ttl(keys.once(put.job_id))
    assert 0 < left_s <= await redis.ttl(keys.result(put.job_id)) + 1, left_s


async def test_a_value_over_the_limit_is_refused(queue: Queue, redis: ArqRedis, effects: Effects) -> None:
    await queue.enqueue("any", {})
    (claim,) = (await Leases(redis, queue=QUEUE, worker="one", lease_s=10).claim(1)).claims
    with pytest.raises(ValueError, match="over the limit of 65536"):
        await (await effects.once(claim, "payment")).finish("x" * 70_000)


async def test_without_a_worker_the_marker_is_in_memory_alone() -> None:
    ctx = Context(job_id="1", attempt=1, max_tries=1, enqueued_at=None)  # type: ignore[arg-type]  # not looked at
    effect = await ctx.once("payment")
    await effect.start()
    assert effect.started
    await effect.finish(7)
    assert (effect.done, effect.value) == (True, 7)


async def test_a_lease_that_another_program_wrote_over_is_still_its_owners(
    redis: ArqRedis, queue: Queue, effects: Effects
) -> None:
    """As for a heartbeat and an outcome: the entry among the running jobs says whose the job is."""
    await queue.enqueue("any", {})
    (claim,) = (await Leases(redis, queue=QUEUE, worker="one", lease_s=10).claim(1)).claims
    await redis.delete(keys.lease(claim.job_id))
    await redis.rpush(keys.lease(claim.job_id), "x")  # type: ignore[misc]  # redis-py types both its clients
    effect = await effects.once(claim, "charge")
    await effect.start()
    assert "charge" in await kept(redis, claim.job_id)
