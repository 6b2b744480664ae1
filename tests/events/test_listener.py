"""Waiters learn of ends over one shared connection, also after it was cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from errand.events.listener import HOME_CHANNEL, JobEvents
from errand.redis import subscription
from errand.redis.connection import connect
from errand.wire import keys
from tests.redis.test_connection import Proxy, client_of
from tests.redis_servers import RedisServer
from tests.waiting import eventually

QUEUE = "arq:queue"


@pytest.fixture
async def ends(redis_url: str, redis: ArqRedis) -> AsyncIterator[JobEvents]:
    subscriber = connect(redis_url, reply_timeout_s=1)
    async with JobEvents(subscriber, queues=[QUEUE]).listening() as listening:
        await eventually(lambda: subscribed(redis, HOME_CHANNEL))
        yield listening
    await subscriber.aclose()


async def subscribed(redis: ArqRedis, channel: str) -> int:
    ((_, count),) = await redis.pubsub_numsub(channel)
    return int(count)


async def end(redis: ArqRedis, job_id: str) -> int:
    """Publishes that a job has ended; returns how many connections received it."""
    return int(await redis.publish(keys.events(QUEUE), f"in_progress other\nsucceeded {job_id}"))


async def test_an_end_is_received_by_every_waiter_for_that_job_and_no_other(redis: ArqRedis, ends: JobEvents) -> None:
    async with ends.end_of("a") as first, ends.end_of("a") as second, ends.end_of("b") as other:
        await eventually(lambda: subscribed(redis, keys.events(QUEUE)))
        assert await end(redis, "a") == 1, "all waiters share one subscription"
        await asyncio.wait_for(asyncio.gather(first.wait(), second.wait()), 60)
        assert not other.is_set()


async def test_a_waiter_that_is_gone_costs_redis_nothing(redis: ArqRedis, ends: JobEvents) -> None:
    async with ends.end_of("a"):
        await eventually(lambda: subscribed(redis, keys.events(QUEUE)))

    async def gone() -> bool:
        return not await subscribed(redis, keys.events(QUEUE))

    await eventually(gone)


async def test_a_waiter_that_comes_while_the_connection_is_being_made_is_not_forgotten(
    redis: ArqRedis, redis_url: str
) -> None:
    for _ in range(20):
        async with client_of(redis_url) as subscriber, JobEvents(subscriber, queues=[QUEUE]).listening() as listening:
            await asyncio.sleep(0)
            async with listening.end_of("a") as ended:
                await eventually(lambda: end(redis, "a"))
                await asyncio.wait_for(ended.wait(), 60)


async def test_an_id_that_is_no_text_hinders_no_waiter(redis: ArqRedis, ends: JobEvents) -> None:
    async with ends.end_of("a") as ended:
        await eventually(lambda: subscribed(redis, keys.events(QUEUE)))
        await redis.publish(keys.events(QUEUE), b"succeeded \xff")
        await end(redis, "a")
        await asyncio.wait_for(ended.wait(), 60)


async def test_a_redis_that_forbids_channels_is_lived_with(
    redis: ArqRedis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "REFUSED_PAUSE_S", 0.01)
    subscriber = connect(redis_url, reply_timeout_s=5)
    await redis.execute_command("ACL", "SETUSER", "default", "resetchannels")  # type: ignore[no-untyped-call]
    try:
        async with JobEvents(subscriber, queues=[QUEUE]).listening() as listening, listening.end_of("a") as ended:
            with capture_logs() as logs:

                async def logged() -> bool:
                    return bool(logs)

                await eventually(logged)
            await redis.execute_command("ACL", "SETUSER", "default", "allchannels")  # type: ignore[no-untyped-call]
            await eventually(lambda: subscribed(redis, keys.events(QUEUE)))
            await end(redis, "a")
            await asyncio.wait_for(ended.wait(), 60)
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "allchannels")  # type: ignore[no-untyped-call]
        await subscriber.aclose()


async def test_a_cut_connection_is_opened_again_with_its_subscriptions(redis: ArqRedis, ends: JobEvents) -> None:
    async with ends.end_of("a") as ended:
        await eventually(lambda: subscribed(redis, keys.events(QUEUE)))
        await redis.client_kill_filter(_type="pubsub")
        await eventually(lambda: end(redis, "a"))
        await asyncio.wait_for(ended.wait(), 60)


async def test_a_subscription_whose_peer_vanished_is_made_anew(tmp_path: Path) -> None:
    with RedisServer(tmp_path).running() as server:
        async with Proxy.to(server) as proxy, client_of(proxy.url) as subscriber, client_of(server.url) as redis:
            async with JobEvents(subscriber, queues=[QUEUE], ping_every_s=0.2).listening() as ends:
                await eventually(lambda: subscribed(redis, HOME_CHANNEL))
                async with ends.end_of("a") as ended:
                    proxy.lose_all()

                    async def received() -> bool:
                        await end(redis, "a")
                        return ended.is_set()

                    await eventually(received)


@pytest.mark.parametrize("refusal", ["-@pubsub", "-ping -subscribe"])
async def test_a_refused_subscription_is_tried_again(
    redis_url: str, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch, refusal: str
) -> None:
    monkeypatch.setattr("errand.redis.subscription.REFUSED_PAUSE_S", 0.1)
    await redis.execute_command("ACL", "SETUSER", "default", *refusal.split())  # type: ignore[no-untyped-call]
    try:
        async with client_of(redis_url) as subscriber, JobEvents(subscriber, queues=[QUEUE]).listening():
            await asyncio.sleep(0.3)  # refused more than once
            await redis.execute_command("ACL", "SETUSER", "default", "+@all")  # type: ignore[no-untyped-call]
            await eventually(lambda: subscribed(redis, HOME_CHANNEL))
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+@all")  # type: ignore[no-untyped-call]


async def test_a_password_that_changes_for_a_while_ends_no_subscription(tmp_path: Path) -> None:
    with RedisServer(tmp_path, options=("requirepass first",)).running() as server:
        url = server.url.replace("://", "://:first@")
        async with client_of(url) as operator, client_of(url) as subscriber:
            async with JobEvents(subscriber, queues=[QUEUE]).listening():
                await eventually(lambda: subscribed(operator, HOME_CHANNEL))
                await operator.config_set("requirepass", "second")
                await operator.client_kill_filter(_type="pubsub")
                await asyncio.sleep(0.3)  # refused more than once
                await operator.config_set("requirepass", "first")
                await eventually(lambda: subscribed(operator, HOME_CHANNEL))
