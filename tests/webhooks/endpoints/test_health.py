"""Since when an endpoint fails, as several workers see it."""

from __future__ import annotations

import asyncio

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError

from errand.queue.queue import Queue
from errand.webhooks.endpoints import Endpoint, EndpointDefinition, EndpointHealth, EndpointNotices, Endpoints
from errand.wire import keys
from tests.waiting import eventually


def worker(redis: ArqRedis) -> EndpointHealth:
    endpoints = Endpoints(redis)
    return EndpointHealth(redis, endpoints, EndpointNotices(endpoints, Queue(redis, name="webhooks", ended_ttl_s=60)))


async def note(health: EndpointHealth, *attempts: bool) -> None:
    """Attempts at an endpoint, each a success or a failure, which are written down when this returns."""
    for ok in attempts:
        health.note("one", ok=ok)
    await health.close()


async def is_marked(redis: ArqRedis) -> bool:
    return bool(await redis.hexists(keys.WEBHOOK_FAILING, "one"))  # type: ignore[misc]  # types both its clients


async def commands(redis: ArqRedis) -> int:
    """How many Redis was sent since `config_resetstat`, scripts' own not among them."""
    calls = await redis.info("commandstats")
    names = ("eval", "evalsha", "time", "hset", "hsetnx", "hmget", "zrange")
    return sum(calls.get(f"cmdstat_{name}", {}).get("calls", 0) for name in names)


async def test_a_success_removes_the_mark_of_another_worker(redis: ArqRedis) -> None:
    fails, works = worker(redis), worker(redis)
    await note(works, True)
    await note(fails, False)
    assert await is_marked(redis)
    await note(works, True)
    assert not await is_marked(redis)


async def test_many_attempts_are_written_down_by_a_few_calls_soon_after(redis: ArqRedis) -> None:
    health = worker(redis)
    await note(health, True)
    await redis.config_resetstat()
    for ok in (False, True) * 100 + (False,) * 100:
        health.note("one", ok=ok)
    await eventually(lambda: is_marked(redis))
    assert await commands(redis) <= 5
    await note(health)


async def test_what_came_last_counts(redis: ArqRedis) -> None:
    health = worker(redis)
    await note(health, True, False)
    assert await is_marked(redis)
    await note(health, False, True)
    assert not await is_marked(redis)
    await note(health, False)
    await redis.delete(keys.WEBHOOK_FAILING)
    await note(health, False)
    assert not await is_marked(redis), "a worker looks once a minute"


async def test_what_stands_in_the_way_of_a_note_fails_no_delivery(redis: ArqRedis) -> None:
    await redis.set(keys.WEBHOOK_FAILING, "not a hash")
    await note(worker(redis), True)
    await note(worker(redis), False)


async def test_a_failure_that_could_not_be_noted_is_noted_by_the_next(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = worker(redis)

    async def away(**_: object) -> int:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(health, "_fails", away)
        await note(health, False)
    await note(health, False)
    assert await is_marked(redis)


URL = "https://a.example/"


async def put_endpoint(redis: ArqRedis) -> Endpoints:
    endpoints, definition = Endpoints(redis), EndpointDefinition.model_validate({"url": URL})
    await endpoints.put(Endpoint.new("one", definition, secret=None, now_ms=1))
    return endpoints


async def test_a_hundred_answers_of_410_disable_an_endpoint_once(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints, health, put, answers = await put_endpoint(redis), worker(redis), Endpoints.put, list[str]()

    async def noted(self: Endpoints, endpoint: Endpoint, *, seen: str = "") -> str:
        answers.append(await put(self, endpoint, seen=seen))
        return answers[-1]

    monkeypatch.setattr(Endpoints, "put", noted)
    await health.gone("one", url="https://another.example/")  # it was that of the endpoint a moment ago
    assert not answers
    await asyncio.gather(*(each.gone("one", url=URL) for each in (health, worker(redis)) for _ in range(100)))
    endpoint = await endpoints.read("one")
    assert endpoint is not None and endpoint.disabled_reason == "the receiver answered 410"
    assert answers.count("done") == 1


@pytest.mark.parametrize(("since", "latest", "disabled"), [(6, 1, True), (6, None, True), (6, 3, False), (4, 1, False)])
async def test_an_endpoint_is_disabled_if_it_has_failed_for_five_days_and_not_if_it_had_no_deliveries_meanwhile(
    redis: ArqRedis, since: int, latest: int | None, disabled: bool
) -> None:
    """One that gets an event a week is not to fall by its second fault. Earlier versions noted no `latest`."""
    endpoints = await put_endpoint(redis)
    now_ms = await endpoints.now_ms()
    moments = [str(now_ms - days * 86_400_000) for days in (since, latest) if days is not None]
    await redis.hset(keys.WEBHOOK_FAILING, "one", " ".join(moments))  # type: ignore[misc]
    await note(worker(redis), False)
    endpoint = await endpoints.read("one")
    assert endpoint is not None and endpoint.enabled != disabled


async def test_a_hundred_answers_that_ask_for_a_pause_are_written_once(redis: ArqRedis) -> None:
    endpoints = Endpoints(redis)
    await redis.config_resetstat()
    await asyncio.gather(*(endpoints.throttle("one", for_s=60) for _ in range(100)))
    await endpoints.throttle("one", for_s=1)
    assert await commands(redis) == 2 and 59 < endpoints.throttled_s("one") <= 60
    await endpoints.throttle("one", for_s=600)
    assert 599 < endpoints.throttled_s("one") <= 600
