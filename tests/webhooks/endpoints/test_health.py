"""Since when an endpoint fails, as several workers see it."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError

from errand.webhooks.endpoints import EndpointHealth, Endpoints
from errand.wire import keys


def worker(redis: ArqRedis) -> EndpointHealth:
    return EndpointHealth(redis, Endpoints(redis))


async def is_marked(redis: ArqRedis) -> bool:
    return bool(await redis.hexists(keys.WEBHOOK_FAILING, "one"))  # type: ignore[misc]  # types both its clients


async def test_a_success_removes_the_mark_of_another_worker_at_once(redis: ArqRedis) -> None:
    fails, works = worker(redis), worker(redis)
    await works.note("one", ok=True)
    await fails.note("one", ok=False)
    assert await is_marked(redis)
    await works.note("one", ok=True)
    assert not await is_marked(redis)


async def test_a_failure_after_a_success_is_noted_at_once_and_one_more_is_not(redis: ArqRedis) -> None:
    health = worker(redis)
    for ok in (False, True, False):
        await health.note("one", ok=ok)
    assert await is_marked(redis)
    await redis.delete(keys.WEBHOOK_FAILING)
    await health.note("one", ok=False)
    assert not await is_marked(redis), "a worker looks once a minute"


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
