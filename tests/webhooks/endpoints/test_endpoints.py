"""Endpoints, from the request that makes one to the delivery that a receiver verifies."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import standardwebhooks
from arq.connections import ArqRedis

from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.endpoints import EndpointDefinition, Endpoints
from errand.wire import keys
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.peers import HttpReceiver, Received
from tests.waiting import eventually

PATH = "/v1/webhook-endpoints"
EVENT = {"event": "invoice.payment-failed", "data": {"id": 2**70}}


async def make(client: httpx.AsyncClient, name: str, url: str, **definition: Any) -> dict[str, Any]:
    answer = await client.put(f"{PATH}/{name}", json={"url": url, **definition})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def send(client: httpx.AsyncClient, **event: Any) -> dict[str, Any]:
    answer = await client.post("/v1/webhook-events", json={**EVENT, **event})
    assert answer.status_code == 202, answer.text
    sent: dict[str, Any] = answer.json()
    return sent


async def ended(redis: ArqRedis, job_id: str) -> JobSnapshot:
    async def look() -> JobSnapshot | None:
        job = await read_job(redis, job_id, queues=[keys.queue(WEBHOOK_QUEUE)])
        return job if job is not None and job.ended else None

    return await eventually(look)


def verified(request: Received, secret: str) -> Any:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return standardwebhooks.Webhook(secret).verify(request.body.decode(), headers)


async def test_an_event_goes_to_each_endpoint_that_takes_it_signed_with_its_own_secret(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    auth = {"kind": "basic", "user": "ada", "password": "s3cret pass"}
    one = await make(client, "one", f"{receiver.url}/one", events=["invoice.*"], headers={"X-Shop": "7"}, auth=auth)
    two = await make(client, "two", f"{receiver.url}/two")
    await make(client, "other-events", f"{receiver.url}/three", events=["order.*", "invoice.paid"])
    await make(client, "other-tenant", f"{receiver.url}/four", tenant="acme")
    await make(client, "off", f"{receiver.url}/five", enabled=False)
    sent = await send(client)
    assert sent["count"] == 2 and [each["endpoint_id"] for each in sent["deliveries"]] == ["one", "two"]
    async with run_worker([webhook]):
        for each in sent["deliveries"]:
            assert (await ended(redis, each["job_id"])).status == "succeeded"
    first, second = sorted(receiver.requests, key=lambda request: request.path)
    assert [first.path, second.path] == ["/one", "/two"]
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == sent["id"]
    assert first.body == second.body and verified(first, one["secret"])["data"] == EVENT["data"]
    assert (
        first.headers["X-Shop"] == "7"
        and first.headers["Authorization"]
        == httpx._models.Headers({"a": httpx.BasicAuth("ada", "s3cret pass")._auth_header})["a"]
    )
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verified(first, two["secret"])


async def test_an_event_of_a_tenant_goes_to_its_endpoints_alone(client: httpx.AsyncClient) -> None:
    for tenant in ("acme", "bond", None):
        await make(client, f"of-{tenant}", "https://receiver.example/", tenant=tenant)
    assert [each["endpoint_id"] for each in (await send(client, tenant="acme"))["deliveries"]] == ["of-acme"]
    assert (await send(client, tenant="nobody"))["deliveries"] == []


async def test_a_change_holds_for_what_is_queued_already(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await make(client, "one", "http://127.0.0.1:1/old")
    await make(client, "gone", receiver.url)
    sent = await send(client)
    await client.put(f"{PATH}/one", json={"url": f"{receiver.url}/new"})
    rotated = (await client.post(f"{PATH}/one/rotate")).json()
    assert (await client.delete(f"{PATH}/gone")).status_code == 204
    async with run_worker([webhook]):
        gone, one = [await ended(redis, each["job_id"]) for each in sent["deliveries"]]
    assert (one.status, gone.status) == ("succeeded", "cancelled")
    assert gone.error is not None and "no endpoint gone any more" in gone.error.message
    (request,) = receiver.requests
    assert request.path == "/new" and verified(request, rotated["secret"])


async def test_for_a_day_after_a_rotation_both_secrets_verify(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    old = await make(client, "one", receiver.url)
    new = (await client.post(f"{PATH}/one/rotate")).json()
    assert new["previous_secret_until"] is not None and new["secret"] != old["secret"]
    sent = await send(client)
    async with run_worker([webhook]):
        await ended(redis, sent["deliveries"][0]["job_id"])
    (request,) = receiver.requests
    assert verified(request, old["secret"]) == verified(request, new["secret"])
    kept = await Endpoints(redis).read("one")
    assert kept is not None and kept.secrets(now_ms=kept.previous_until_ms) == (new["secret"],)


async def test_secrets_are_shown_once_and_passwords_never(client: httpx.AsyncClient) -> None:
    made = await make(client, "one", "https://a.example/", auth={"kind": "bearer", "token": "t0ken"})
    assert made["secret"].startswith("whsec_")
    for answer in (await client.get(f"{PATH}/one"), await client.get(PATH)):
        assert made["secret"] not in answer.text and "t0ken" not in answer.text
    assert (await client.get(f"{PATH}/one")).json()["auth"] == {"kind": "bearer", "token": "**********"}


async def test_endpoints_are_listed_a_page_at_a_time(client: httpx.AsyncClient) -> None:
    for name in ("c", "a", "b"):
        await make(client, name, "https://a.example/")
    first = (await client.get(PATH, params={"limit": 2})).json()
    second = (await client.get(first["next"])).json()
    assert [[view["id"] for view in page["endpoints"]] for page in (first, second)] == [["a", "b"], ["c"]]
    assert second["next"] is None


@pytest.mark.parametrize(
    "faulty",
    [
        {"url": "ftp://a.example/"},
        {"url": "https://ada:pw@a.example/"},
        {"events": []},
        {"events": ["no spaces"]},
        {"headers": {"Webhook-Id": "x"}},
        {"headers": {"Host": "x"}},
        {"headers": {"X": "a\r\nY: b"}},
        {"headers": {"X Y": "z"}},
        {"secret": "whsec_short"},
        {"timeout_s": 60},
        {"retry_s": [0]},
        {"retry_s": [5] * 11},
        {"concurrency": 0},
        {"colour": "red"},
    ],
)
async def test_what_makes_no_endpoint_is_refused(client: httpx.AsyncClient, faulty: dict[str, Any]) -> None:
    answer = await client.post(PATH, json={"url": "https://a.example/", **faulty})
    assert answer.status_code == 422 and answer.json()["errors"]
    assert (await client.get(PATH)).json()["endpoints"] == []


async def test_an_unknown_endpoint_is_a_404(client: httpx.AsyncClient) -> None:
    for answer in (
        await client.get(f"{PATH}/none"),
        await client.delete(f"{PATH}/none"),
        await client.post(f"{PATH}/none/rotate"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-endpoint")


async def test_the_same_event_under_the_same_key_is_put_once(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    await make(client, "one", "https://a.example/")
    first, again, other = [
        await client.post("/v1/webhook-events", json=event, headers={"Idempotency-Key": "k"})
        for event in (EVENT, EVENT, {**EVENT, "data": 1})
    ]
    assert first.json()["id"] == again.json()["id"] and again.headers["idempotency-replayed"] == "true"
    assert other.status_code == 422
    assert await redis.zcard(keys.queue(WEBHOOK_QUEUE)) == 1


async def test_an_endpoints_own_schedule_ends_its_deliveries(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [500, 500]
    await make(client, "one", receiver.url, retry_s=[1])
    sent = await send(client)
    async with run_worker([webhook]):
        done = await ended(redis, sent["deliveries"][0]["job_id"])
    assert (done.status, [attempt.outcome for attempt in done.attempts]) == ("failed", ["retry", "failed"])
    first = done.attempts[0]
    assert 900 <= (first.next_attempt_at_ms or 0) - first.ended_at_ms <= 1_100


@pytest.mark.parametrize(
    ("patterns", "event", "taken"),
    [
        (["*"], "a.b", True),
        (["a.*"], "a.b.c", True),
        (["a.*"], "a", False),
        (["a.*"], "ab.c", False),
        (["*.failed"], "a.b.failed", True),
        (["a.b"], "a.b", True),
        (["a.b"], "axb", False),
        (["x", "a.*.c"], "a.b.c", True),
    ],
)
def test_in_a_filter_a_star_stands_for_any_characters(patterns: list[str], event: str, taken: bool) -> None:
    definition = EndpointDefinition.model_validate({"url": "https://a.example/", "events": patterns})
    assert definition.receives(event, None) is taken
