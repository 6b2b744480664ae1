"""Operational events: who gets them, and that they end."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.queue.queue import Queue
from errand.webhooks.endpoints import EndpointNotices, Endpoints
from errand.webhooks.endpoints.notices import EXHAUSTED
from errand.wire import keys
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.peers import HttpReceiver
from tests.waiting import eventually
from tests.webhooks.endpoints.test_endpoints import ended, make, send, verified


def notices(receiver: HttpReceiver, path: str) -> list[dict[str, Any]]:
    """The bodies that came to that path."""
    return [json.loads(request.body) for request in receiver.requests if request.path == path]


async def all_has_ended(redis: ArqRedis) -> None:
    async def nothing_is_queued() -> bool:
        return not await redis.zcard(keys.queue("webhooks"))

    await eventually(nothing_is_queued)


async def test_a_message_that_failed_for_good_is_named_to_those_who_ask_and_may_know(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    asks = ["message.*"]
    ops = await make(client, "ops", f"{receiver.url}/ops", events=asks)
    await make(client, "acme-ops", f"{receiver.url}/acme", events=asks, tenant="acme")
    await make(client, "other-ops", f"{receiver.url}/other", events=asks, tenant="other")
    await make(client, "all", f"{receiver.url}/all", tenant="acme", events=["*.exhausted", "*"])
    bad = "http://127.0.0.1:9999/"
    await make(client, "bad", bad, events=["invoice.*", "message.exhausted"], tenant="acme", retry_s=[])
    sent = await send(client, tenant="acme", event="invoice.paid")
    async with run_worker([webhook]):
        for each in sent["deliveries"]:
            await ended(redis, each["job_id"])
        await receiver.wait_for(3)
        await all_has_ended(redis)
    (notice,) = notices(receiver, "/ops")
    assert notices(receiver, "/acme") == [notice]
    assert notice["type"] == "message.exhausted" and notice["data"].pop("error").startswith("refused: ")
    (job_id,) = [each["job_id"] for each in sent["deliveries"] if each["endpoint_id"] == "bad"]
    assert notice["data"] == {
        **{"endpoint_id": "bad", "tenant": "acme", "event": "invoice.paid"},
        **{"webhook_id": sent["id"], "job_id": job_id, "attempts": 1},
    }
    (request,) = [request for request in receiver.requests if request.path == "/ops"]
    assert verified(request, ops["secret"])["type"] == "message.exhausted"
    assert notices(receiver, "/other") == []
    assert [each["type"] for each in notices(receiver, "/all")] == ["invoice.paid"]


async def test_a_notice_that_fails_is_followed_by_no_other(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    for name in ("one", "two"):
        await make(client, name, f"{receiver.url}/{name}", events=["message.exhausted"], retry_s=[])
    await make(client, "bad", f"{receiver.url}/bad", events=["a.b"], retry_s=[])
    receiver.answers = [500, 500, 500]
    async with run_worker([webhook]):
        await ended(redis, (await send(client, event="a.b"))["deliveries"][0]["job_id"])
        await receiver.wait_for(3)
        await all_has_ended(redis)
    assert sorted(request.path for request in receiver.requests) == ["/bad", "/one", "/two"]


async def test_an_endpoint_that_is_disabled_is_named_once_and_not_to_itself(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await make(client, "ops", f"{receiver.url}/ops", events=["endpoint.disabled"])
    await make(client, "gone", f"{receiver.url}/gone", events=["a.b", "endpoint.*"])
    receiver.answers = [410]
    async with run_worker([webhook]):
        await ended(redis, (await send(client, event="a.b"))["deliveries"][0]["job_id"])
        await receiver.wait_for(2)
        await all_has_ended(redis)
    (notice,) = notices(receiver, "/ops")
    assert (notice["type"], notice["data"]["endpoint_id"]) == ("endpoint.disabled", "gone")
    assert notice["data"]["reason"] == "the receiver answered 410"
    assert len(notices(receiver, "/gone")) == 1


async def test_a_notice_goes_to_no_more_endpoints_than_it_may(
    redis: ArqRedis, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an event that many refuse, each of which asks for what becomes of the others, makes the square of them."""
    monkeypatch.setattr("errand.webhooks.endpoints.notices.MAX_NOTIFIED", 2)
    for name in ("one", "two", "three", "four"):
        await make(client, name, f"https://{name}.example/", events=["message.exhausted"])
    queue = Queue(redis, name="webhooks", ended_ttl_s=60)
    await EndpointNotices(Endpoints(redis), queue).put(EXHAUSTED, "one", {})
    assert await redis.zcard(queue.key) == 2


@pytest.mark.parametrize(("failed_s", "expected"), [(1200, ["endpoint.recovered"]), (5, [])])
async def test_an_endpoint_that_failed_for_long_is_named_when_it_recovers(
    redis: ArqRedis,
    client: httpx.AsyncClient,
    run_worker: RunWorker,
    receiver: HttpReceiver,
    failed_s: float,
    expected: list[str],
) -> None:
    await make(client, "ops", f"{receiver.url}/ops", events=["endpoint.*"])
    await make(client, "back", f"{receiver.url}/back", events=["a.b"])
    await redis.hset(keys.WEBHOOK_FAILING, "back", str(int((time.time() - failed_s) * 1000)))  # type: ignore[misc]  # types both its clients

    async def is_no_failure() -> bool:
        return not await redis.exists(keys.WEBHOOK_FAILING)

    async with run_worker([webhook]):
        await ended(redis, (await send(client, event="a.b"))["deliveries"][0]["job_id"])
        await eventually(is_no_failure)
        await receiver.wait_for(1 + len(expected))
        await all_has_ended(redis)
    assert [each["type"] for each in notices(receiver, "/ops")] == expected
    assert [set(each["data"]) for each in notices(receiver, "/ops")] == [
        {"endpoint_id", "tenant", "failing_since"} for _ in expected
    ]
