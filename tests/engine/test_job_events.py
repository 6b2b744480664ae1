"""Waiters hear of ends over one shared connection, also after it was cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from jobs.engine import job_events, keys
from jobs.engine.job_events import HOME_CHANNEL, JobEvents
from jobs.engine.redis_connection import connect
from tests.waiting import eventually

QUEUE = "arq:queue"


@pytest.fixture
async def ends(redis_url: str, redis: ArqRedis) -> AsyncIterator[JobEvents]:
    subscriber = connect(redis_url, reply_timeout_s=None)
    async with JobEvents(subscriber, queues=[QUEUE]).listening() as listening:
        await eventually(lambda: subscribed(redis, HOME_CHANNEL))
        yield listening
    await subscriber.aclose()


async def subscribed(redis: ArqRedis, channel: str) -> int:
    ((_, count),) = await redis.pubsub_numsub(channel)
    return int(count)


async def end(redis: ArqRedis, job_id: str) -> int:
    """Says that a job has ended; returns how many connections heard it."""
    return int(await redis.publish(keys.events(QUEUE), f"in_progress other\nsucceeded {job_id}"))


async def test_every_waiter_for_a_job_hears_its_end_and_nobody_else(redis: ArqRedis, ends: JobEvents) -> None:
    async with ends.end_of("a") as first, ends.end_of("a") as second, ends.end_of("b") as other:
        await eventually(lambda: subscribed(redis, keys.events(QUEUE)))
        assert await end(redis, "a") == 1, "all waiters share one subscription"
        await asyncio.wait_for(asyncio.gather(first.wait(), second.wait()), 5)
        assert not other.is_set()


async def test_who_no_longer_waits_costs_redis_nothing(redis: ArqRedis, ends: JobEvents) -> None:
    async with ends.end_of("a"):
        await eventually(lambda: subscribed(redis, keys.events(QUEUE)))

    async def gone() -> bool:
        return not await subscribed(redis, keys.events(QUEUE))

    await eventually(gone)


async def test_an_id_that_is_no_text_deafens_nobody(redis: ArqRedis, ends: JobEvents) -> None:
    async with ends.end_of("a") as ended:
        await eventually(lambda: subscribed(redis, keys.events(QUEUE)))
        await redis.publish(keys.events(QUEUE), b"succeeded \xff")
        await end(redis, "a")
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_redis_that_forbids_channels_is_lived_with(
    redis: ArqRedis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_events, "REFUSED_PAUSE_S", 0.01)
    subscriber = connect(redis_url, reply_timeout_s=None)
    await redis.execute_command("ACL", "SETUSER", "default", "resetchannels")  # type: ignore[no-untyped-call]
    try:
        async with JobEvents(subscriber, queues=[QUEUE]).listening() as listening, listening.end_of("a") as ended:
            with capture_logs() as logs:

                async def told() -> bool:
                    return bool(logs)

                await eventually(told)
            await redis.execute_command("ACL", "SETUSER", "default", "allchannels")  # type: ignore[no-untyped-call]
            await eventually(lambda: subscribed(redis, keys.events(QUEUE)))
            await end(redis, "a")
            await asyncio.wait_for(ended.wait(), 5)
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "allchannels")  # type: ignore[no-untyped-call]
        await subscriber.aclose()


async def test_a_cut_connection_is_opened_again_with_its_subscriptions(redis: ArqRedis, ends: JobEvents) -> None:
    async with ends.end_of("a") as ended:
        await eventually(lambda: subscribed(redis, keys.events(QUEUE)))
        await redis.client_kill_filter(_type="pubsub")
        await eventually(lambda: end(redis, "a"))
        await asyncio.wait_for(ended.wait(), 5)
