"""Since when an endpoint fails, as several workers see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError

from errand.queue.queue import Queue
from errand.webhooks.endpoints import EndpointHealth, EndpointNotices, Endpoints
from errand.wire import keys
from tests.waiting import eventually


def worker(redis: ArqRedis) -> EndpointHealth:
    endpoints = Endpoints(redis)
    return EndpointHealth(redis, endpoints, EndpointNotices(endpoints, Queue(redis, name="webhooks", ended_ttl_s=60)))


@asynccontextmanager
async def working(redis: ArqRedis) -> AsyncIterator[EndpointHealth]:
    """One that has written all when the block ends."""
    health = worker(redis)
    yield health
    await health.close()


async def is_marked(redis: ArqRedis) -> bool:
    return bool(await redis.hexists(keys.WEBHOOK_FAILING, "one"))  # type: ignore[misc]  # types both its clients


async def test_a_success_removes_the_mark_of_another_worker(redis: ArqRedis) -> None:
    fails = worker(redis)
    async with working(redis) as works:
        await works.note("one", ok=True)
        await eventually(lambda: _all_is_written(works))
        await fails.note("one", ok=False)
        assert await is_marked(redis)
        await works.note("one", ok=True)
    assert not await is_marked(redis)


async def _all_is_written(health: EndpointHealth) -> bool:
    return not health._took


async def test_many_successes_are_written_down_by_one_call_soon_after(redis: ArqRedis) -> None:
    await worker(redis).note("one", ok=False)
    await redis.config_resetstat()
    async with working(redis) as health:
        for _ in range(200):
            await health.note("one", ok=True)
        await eventually(lambda: _is_not_marked(redis))
    calls = await redis.info("commandstats")
    assert sum(calls.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha")) <= 2


async def _is_not_marked(redis: ArqRedis) -> bool:
    return not await is_marked(redis)


async def test_a_failure_after_a_success_is_noted_at_once_and_one_more_is_not(redis: ArqRedis) -> None:
    async with working(redis) as health:
        for ok in (False, True, False):
            await health.note("one", ok=ok)
        assert await is_marked(redis)
        await redis.delete(keys.WEBHOOK_FAILING)
        await health.note("one", ok=False)
        assert not await is_marked(redis), "a worker looks once a minute"


async def test_what_stands_in_the_way_of_a_note_fails_no_delivery(redis: ArqRedis) -> None:
    await redis.set(keys.WEBHOOK_FAILING, "not a hash")
    async with working(redis) as health:
        await health.note("one", ok=True)
    await health.note("one", ok=False)


async def test_a_failure_that_could_not_be_noted_is_noted_by_the_next(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = worker(redis)

    async def away() -> int:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(health._endpoints, "now_ms", away)
        await health.note("one", ok=False)
    await health.note("one", ok=False)
    assert await is_marked(redis)
