"""A target is made once, and made anew when its endpoint has changed."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError

from errand.job.control import Cancel, Retry, Snooze
from errand.webhooks.endpoints import Endpoint, EndpointDefinition, Endpoints, EndpointTargets
from errand.wire import keys


async def test_a_target_is_the_same_until_its_endpoint_changes(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.webhooks.endpoints.store.FRESH_S", 0.0)
    endpoints, targets = Endpoints(redis), EndpointTargets(Endpoints(redis))

    async def put(endpoint_id: str, url: str) -> None:
        known = await endpoints.read(endpoint_id)
        definition = EndpointDefinition.model_validate({"url": url})
        endpoint = Endpoint.new(endpoint_id, definition, secret=None, now_ms=1)
        assert await endpoints.put(endpoint, seen=known.revision if known else "") == "done"

    await put("one", "https://a.example/")
    first = await targets.of("one")
    await put("two", "https://b.example/")
    assert await targets.of("one") is first, "its connections are kept for it"
    await put("one", "https://c.example/")
    assert (await targets.of("one")).url == "https://c.example/"
    await endpoints.remove("one")
    with pytest.raises(Cancel):
        await targets.of("one")


async def test_an_endpoint_that_was_made_or_enabled_a_moment_ago_receives_what_is_sent_to_it(redis: ArqRedis) -> None:
    endpoints, worker = Endpoints(redis), Endpoints(redis)
    definition = EndpointDefinition.model_validate({"url": "https://a.example/"})
    assert await worker.get("one") is None
    await endpoints.put(Endpoint.new("one", definition, secret=None, now_ms=1))
    assert (await EndpointTargets(worker).of("one")).url == "https://a.example/"
    await endpoints.change("one", lambda endpoint: endpoint.disabled("it is gone", now_ms=2))
    assert await worker.get_latest("one") is not None
    await endpoints.change("one", lambda endpoint: endpoint.defined(definition, now_ms=3))
    assert await EndpointTargets(worker).of("one")


async def test_what_waits_for_an_endpoint_that_a_newer_version_has_written_is_not_cancelled(redis: ArqRedis) -> None:
    endpoints, definition = Endpoints(redis), EndpointDefinition.model_validate({"url": "https://a.example/"})
    await endpoints.put(Endpoint.new("one", definition, secret=None, now_ms=1))
    record = await redis.hget(keys.webhook_endpoint("one"), "record")  # type: ignore[misc]  # types both its clients
    newer = record.replace(b'"url":', b'"of_the_next_version":1,"url":')
    await redis.hset(keys.webhook_endpoint("one"), "record", newer)  # type: ignore[misc]
    with pytest.raises(Retry, match="cannot be read"):
        await EndpointTargets(endpoints).of("one")


async def test_a_delivery_uses_no_try_while_redis_is_away(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(endpoint_id: str) -> None:
        raise ConnectionError

    endpoints = Endpoints(redis)
    monkeypatch.setattr(endpoints, "get", away)
    with pytest.raises(Snooze, match="Redis was away"):
        await EndpointTargets(endpoints).of("one")


async def test_a_rotated_secret_signs_for_a_day(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints, now_ms = Endpoints(redis), 1_000
    endpoint = Endpoint.new(
        "one", EndpointDefinition.model_validate({"url": "https://a.example/"}), secret=None, now_ms=now_ms
    ).rotated(now_ms=now_ms)
    await endpoints.put(endpoint)
    targets = EndpointTargets(endpoints)
    for now_s, signatures in ((2.0, 2), (86_500.0, 1)):
        monkeypatch.setattr("errand.webhooks.endpoints.targets.time.time", lambda now_s=now_s: now_s)
        assert len((await targets.of("one")).signer.sign("a", "1", b"").split()) == signatures


async def test_targets_of_endpoints_that_are_deleted_do_not_pile_up(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.webhooks.endpoints.targets.MAX_ENDPOINTS", 2)
    endpoints, targets = Endpoints(redis), EndpointTargets(Endpoints(redis))
    definition = EndpointDefinition.model_validate({"url": "https://a.example/"})
    for name in ("one", "two", "three"):
        await endpoints.put(Endpoint.new(name, definition, secret=None, now_ms=1))
    first = await targets.of("one")
    assert await targets.of("one") is first
    for name in ("two", "three"):
        await targets.of(name)
    assert await targets.of("one") is not first
