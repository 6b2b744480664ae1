"""Endpoints, from the request that makes one to the delivery that a receiver verifies."""

from __future__ import annotations

import time
from base64 import b64decode
from typing import Any

import httpx
import pytest
import standardwebhooks
from aiohttp import web
from arq.connections import ArqRedis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from errand.http.routes.webhooks import resending
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.endpoints import EndpointDefinition, Endpoints
from errand.webhooks.endpoints.definition import takes
from errand.webhooks.endpoints.endpoint import MAX_OLD_SECRETS
from errand.webhooks.secret import new_secret
from errand.wire import keys
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.http.answers_seen import faulty_fields
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
    await make(client, "one", "http://127.0.0.1:9999/old")
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


async def test_a_rotation_that_is_asked_for_again_does_not_end_the_secret_that_the_receiver_knows(
    redis: ArqRedis, client: httpx.AsyncClient
) -> None:
    known = [(await make(client, "one", "https://a.example/"))["secret"]]
    for _ in range(2):
        known.insert(0, (await client.post(f"{PATH}/one/rotate")).json()["secret"])
    kept = await Endpoints(redis).read("one")
    assert kept is not None and list(kept.secrets(now_ms=kept.updated_ms)) == known
    later_ms = kept.updated_ms + 1_000
    often = kept
    for _ in range(20):
        often = often.rotated(now_ms=later_ms)
    assert len(often.secrets(now_ms=later_ms)) == 1 + MAX_OLD_SECRETS
    assert kept.rotated(now_ms=kept.previous_until_ms).older_secrets == {}, "what signs no more is forgotten"


async def test_a_put_with_another_secret_is_refused(client: httpx.AsyncClient) -> None:
    made = await make(client, "one", "https://a.example/")
    definition = {"url": "https://b.example/"}
    assert (await client.put(f"{PATH}/one", json={**definition, "secret": made["secret"]})).status_code == 200
    refused = await client.put(f"{PATH}/one", json={**definition, "secret": new_secret()})
    assert faulty_fields(refused) == ["body.secret"]


async def test_secrets_are_shown_once_and_passwords_never(client: httpx.AsyncClient) -> None:
    made = await make(client, "one", "https://a.example/", auth={"kind": "bearer", "token": "t0ken"})
    assert made["secret"].startswith("whsec_")
    for answer in (await client.get(f"{PATH}/one"), await client.get(PATH)):
        assert made["secret"] not in answer.text and "t0ken" not in answer.text
    assert (await client.get(f"{PATH}/one")).json()["auth"] == {"kind": "bearer", "token": "**********"}


async def test_an_asymmetric_endpoint_verifies_with_a_public_key_that_is_always_shown(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    made = await make(client, "one", receiver.url, asymmetric=True)
    shown = (await client.get(f"{PATH}/one")).json()
    assert shown["public_key"] == made["public_key"] and shown["public_key"].startswith("whpk_")
    sent = await send(client)
    async with run_worker([webhook]):
        await ended(redis, sent["deliveries"][0]["job_id"])
    (request,) = receiver.requests
    verified(request, made["secret"])
    _, asymmetric = request.headers["webhook-signature"].split(" ")
    signed = b".".join((sent["id"].encode(), request.headers["webhook-timestamp"].encode(), request.body))
    verifier = Ed25519PublicKey.from_public_bytes(b64decode(shown["public_key"].removeprefix("whpk_")))
    verifier.verify(b64decode(asymmetric.removeprefix("v1a,")), signed)


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


# --- health


async def test_a_410_disables_the_endpoint_until_its_owner_enables_it(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [410]
    await make(client, "one", receiver.url)
    sent = await send(client)
    async with run_worker([webhook]):
        assert (await ended(redis, sent["deliveries"][0]["job_id"])).status == "failed"
    view = (await client.get(f"{PATH}/one")).json()
    assert (view["state"], view["disabled_reason"]) == ("disabled", "the receiver answered 410")
    assert (await send(client))["count"] == 0
    again = (await client.put(f"{PATH}/one", json={"url": receiver.url})).json()
    assert (again["state"], (await send(client))["count"]) == ("enabled", 1)


@pytest.mark.parametrize(("failing_s", "state"), [(5 * 86_400, "disabled"), (5 * 86_400 - 60, "enabled")])
async def test_five_days_of_nothing_but_failures_disable_an_endpoint(
    redis: ArqRedis,
    client: httpx.AsyncClient,
    run_worker: RunWorker,
    receiver: HttpReceiver,
    failing_s: int,
    state: str,
) -> None:
    seconds, _ = await redis.time()
    await redis.hset(keys.WEBHOOK_FAILING, "one", str((int(seconds) - failing_s) * 1000))  # type: ignore[misc]
    receiver.answers = [500]
    await make(client, "one", receiver.url, retry_s=[])
    sent = await send(client)
    async with run_worker([webhook]):
        await ended(redis, sent["deliveries"][0]["job_id"])
    assert (await client.get(f"{PATH}/one")).json()["state"] == state


async def test_a_success_ends_the_count_of_days(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await redis.hset(keys.WEBHOOK_FAILING, "one", "1")  # type: ignore[misc]
    await make(client, "one", receiver.url)
    sent = await send(client)
    async with run_worker([webhook]):
        await ended(redis, sent["deliveries"][0]["job_id"])

        async def forgotten() -> bool:
            return not await redis.hexists(keys.WEBHOOK_FAILING, "one")  # type: ignore[misc]

        await eventually(forgotten)


async def test_while_an_endpoint_fails_its_deliveries_wait_without_using_tries(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [503] * 10
    await make(client, "one", receiver.url, concurrency=1)
    jobs = [(await send(client))["deliveries"][0]["job_id"] for _ in range(12)]

    async def look() -> list[JobSnapshot] | None:
        found = [await read_job(redis, job_id, queues=[keys.queue(WEBHOOK_QUEUE)]) for job_id in jobs]
        put_back = [job for job in found if job and job.put_back and not job.attempts]
        return put_back if len(put_back) == 2 and len(receiver.requests) == 10 else None

    async with run_worker([webhook]):
        waiting = await eventually(look)
        codes = {job.put_back.code for job in waiting if job.put_back}
        assert codes <= {"endpoint_failing", "endpoint_busy"}
    assert len(receiver.requests) == 10
    assert all(job.tries == 0 for job in waiting)


@pytest.mark.parametrize("status", [200, 503])
async def test_what_a_receiver_repeats_of_our_secrets_is_not_kept(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver, status: int
) -> None:
    auth = {"kind": "basic", "user": "ada", "password": "s3cret pass"}
    made = await make(client, "one", receiver.url, auth=auth, retry_s=[])
    repeated = f"{httpx.BasicAuth('ada', 's3cret pass')._auth_header} s3cret pass {made['secret']}"
    receiver.answers = [web.Response(status=status, text=f"seen: {repeated}")]
    sent = await send(client)
    async with run_worker([webhook]):
        await ended(redis, sent["deliveries"][0]["job_id"])
    shown = (await client.get(f"/v1/jobs/{sent['deliveries'][0]['job_id']}")).text
    assert "seen: Basic *" in shown and not any(secret in shown for secret in repeated.split()[1:])


def test_filters_of_many_stars_are_matched_in_a_moment() -> None:
    def receives(filter: str, event: str) -> bool:
        return EndpointDefinition(url="https://a.example/", events=["x", filter]).receives(event, None)

    assert not receives("*a" * 63 + "*b", "a" * 127 + "c")  # not in this life, if each star is tried everywhere
    assert receives("*a" * 63 + "*", "a" * 128)
    assert receives("a*b*b", "abb") and receives("a*b*b", "a.b.c.b") and not receives("a*b*b", "ab")
    assert receives("***", "a.b") and receives("a.*", "a.b.c") and not receives("a.*.c", "a.c")


def test_a_hundred_filters_of_many_stars_are_read_in_a_moment() -> None:
    """In processor time of this thread: an event is matched with the filters of ten thousand endpoints."""
    began_s = time.thread_time()
    for number in range(20):
        patterns = tuple(("*a*b.c*" * 20)[:115] + f"{number}x{at}" for at in range(100))
        assert not takes(patterns, "a.b.c." * 20) and takes(patterns, "a.b.c." * 40 + f"{number}x7")
    assert time.thread_time() - began_s < 0.3


@pytest.mark.parametrize(
    "auth",
    [
        {"kind": "bearer", "token": "a\r\nX-Other: b"},
        {"kind": "bearer", "token": "**********"},
        {"kind": "basic", "user": "a", "password": "**********"},
    ],
)
async def test_credentials_that_cannot_be_sent_or_are_stars_are_refused(
    client: httpx.AsyncClient, auth: dict[str, str]
) -> None:
    answer = await client.put(f"{PATH}/one", json={"url": "https://a.example/", "auth": auth})
    assert answer.status_code == 422 and list(auth)[-1] in answer.text


# --- sent again


async def test_an_event_is_resent_to_any_endpoint_as_it_was(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await make(client, "old", f"{receiver.url}/old")
    sent = await send(client)
    await make(client, "new", f"{receiver.url}/new", events=["nothing.else"])
    async with run_worker([webhook]):
        await ended(redis, sent["deliveries"][0]["job_id"])
        for name in ("old", "new"):
            answer = await client.post(f"{PATH}/{name}/resend", json={"job_id": sent["deliveries"][0]["job_id"]})
            assert (answer.status_code, answer.json()["id"]) == (202, sent["id"])
        first, *again = await receiver.wait_for(3)
    assert sorted(request.path for request in again) == ["/new", "/old"]
    assert {request.body for request in again} == {first.body}
    assert {request.headers["webhook-id"] for request in again} == {sent["id"]}


async def test_what_failed_is_recovered_with_the_same_id(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [500, 500]
    await make(client, "one", f"{receiver.url}/one", retry_s=[])
    await make(client, "two", f"{receiver.url}/two", retry_s=[])
    sent = await send(client)
    async with run_worker([webhook]):
        for each in sent["deliveries"]:
            assert (await ended(redis, each["job_id"])).status == "failed"
        none = await client.post(f"{PATH}/one/recover", json={"since": "2999-01-01T00:00:00Z"})
        assert none.json() == {"count": 0, "ids": [], "complete": True, "cursor": None}
        done = await client.post(f"{PATH}/one/recover", json={"since": "2020-01-01T00:00:00Z"})
        assert done.json() == {"count": 1, "ids": [sent["deliveries"][0]["job_id"]], "complete": True, "cursor": None}
        await receiver.wait_for(3)
    assert receiver.requests[2].path == "/one"
    assert {request.headers["webhook-id"] for request in receiver.requests} == {sent["id"]}


async def test_a_new_endpoint_gets_what_another_one_was_sent_before(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [200, 410]
    await make(client, "old", f"{receiver.url}/old", concurrency=1)
    sent = [await send(client) for _ in range(2)]
    async with run_worker([webhook]):
        for each in sent:
            await ended(redis, each["deliveries"][0]["job_id"])
        await client.delete(f"{PATH}/old")
        await make(client, "new", f"{receiver.url}/new", events=["nothing.else"])
        replay = {"since": "2020-01-01T00:00:00Z", "status": ["succeeded", "failed"]}
        assert (await client.post(f"{PATH}/new/recover", json=replay)).status_code == 422, "it was sent nothing itself"
        answer = (await client.post(f"{PATH}/new/recover", json={**replay, "of": "old"})).json()
        assert (answer["count"], answer["complete"]) == (2, True)
        requests = await receiver.wait_for(4)
    assert [request.path for request in requests] == ["/old", "/old", "/new", "/new"]
    sent_each = [(request.headers["webhook-id"], request.body) for request in requests]
    assert sorted(sent_each[:2]) == sorted(sent_each[2:])
    assert {webhook_id for webhook_id, _ in sent_each} == {each["id"] for each in sent}


async def test_a_test_event_reaches_an_endpoint_whatever_it_takes(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    made = await make(client, "one", receiver.url, events=["nothing.else"])
    async with run_worker([webhook]):
        assert (await client.post(f"{PATH}/one/test")).status_code == 202
        (request,) = await receiver.wait_for(1)
    assert verified(request, made["secret"])["type"] == "endpoint.test"


async def test_what_is_not_there_is_not_sent_again(client: httpx.AsyncClient) -> None:
    await make(client, "one", "https://a.example/")
    assert (
        (await client.post(f"{PATH}/one/resend", json={"job_id": "none"})).json()["type"].endswith("unknown-delivery")
    )
    assert (await client.post(f"{PATH}/none/test")).status_code == 404
    assert (await client.post(f"{PATH}/none/recover", json={"since": "2020-01-01T00:00:00Z"})).status_code == 404


async def test_an_event_sent_again_gets_the_first_answer_whoever_receives_it_by_now(client: httpx.AsyncClient) -> None:
    async def put(event: dict[str, Any]) -> httpx.Response:
        return await client.post("/v1/webhook-events", json=event, headers={"Idempotency-Key": "k"})

    await make(client, "one", "https://a.example/")
    first = await put(EVENT)
    await client.delete(f"{PATH}/one")
    again, other = await put(EVENT), await put({**EVENT, "data": 1})
    assert (again.json()["id"], again.json()["count"]) == (first.json()["id"], 1)
    assert again.headers["idempotency-replayed"] == "true" and other.status_code == 422


async def test_a_recovery_that_stops_at_its_limit_goes_on_behind_its_cursor(
    redis: ArqRedis, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries to others, which stay as they are, must not be walked through again and again."""
    monkeypatch.setattr(resending, "RECOVERY_LIMIT_S", 0)
    monkeypatch.setattr(resending, "READ_AT_ONCE", 1)
    for name in ("one", "two"):
        await make(client, name, "https://a.example/")
    sent = [await send(client) for _ in range(2)]
    for job in [each["job_id"] for one in sent for each in one["deliveries"]]:
        await client.post(f"/v1/jobs/{job}/cancel")
    recovered: list[str] = []
    asked: dict[str, Any] = {"since": "2020-01-01T00:00:00Z", "status": ["cancelled"]}
    for _ in range(4):
        answer = (await client.post(f"{PATH}/one/recover", json=asked)).json()
        recovered += answer["ids"]
        asked["cursor"] = answer["cursor"]
    assert (answer["complete"], answer["cursor"]) == (True, None)
    mine = [each["job_id"] for one in sent for each in one["deliveries"] if each["endpoint_id"] == "one"]
    assert sorted(recovered) == sorted(mine)
    wrong = await client.post(f"{PATH}/one/recover", json={**asked, "cursor": "x"})
    assert wrong.json()["errors"][0]["field"] == "body.cursor"


async def test_an_endpoint_that_is_put_again_keeps_its_key(client: httpx.AsyncClient) -> None:
    made, again = [
        await client.put(f"{PATH}/one", json={"url": "https://a.example/", "asymmetric": True, "description": name})
        for name in ("first", "second")
    ]
    assert made.json()["public_key"] == again.json()["public_key"] and made.json()["public_key"].startswith("whpk_")
