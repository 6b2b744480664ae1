"""Who changed what, and whose credentials were refused: in the log, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from errand.audit import AuditEntry, AuditFilter, AuditTrail
from errand.http.gates.audit import LINES_IN_A_MINUTE
from errand.http.gates.throttle import MAX_ADDRESSES, RefusalThrottle
from errand.settings import RequestRate
from tests.conftest import OpenClient, make_settings
from tests.http.answers_seen import LETTER, problem_of

OLD, NEW, READER, PAST = "ci-key-0123456789", "ci-key-9876543210", "reader-0123456789", "past-key-0123456789"
KEYS = f"ci={OLD};expires=2999-01-31,ci={NEW},{READER}:read,late={PAST};expires=2020-01-31T12:00:00+01:00"


@pytest.fixture
async def client(
    open_client: OpenClient, tmp_path: Path, redis: ArqRedis, redis_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    guarded = make_settings(tmp_path, redis_url=redis_url, api_keys=KEYS)
    async with open_client(guarded, client=("203.0.113.7", 50_000)) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_each_change_is_logged_with_the_name_of_its_key(client: httpx.AsyncClient) -> None:
    put = await client.post("/v1/jobs/welcome_email?delay=1h", json=LETTER, headers=bearer(OLD))
    job = f"/v1/jobs/{put.json()['id']}"
    with capture_logs() as lines:
        for key, path in ((OLD, f"{job}/cancel"), (NEW, f"{job}/cancel"), (NEW, "/v1/queues/default/pause")):
            await client.post(path, headers=bearer(key))
        for looks, path in (("GET", job), ("OPTIONS", "/v1/uploads"), ("TRACE", job)):
            await client.request(looks, path, headers=bearer(OLD))
        await client.post("/v1/jobs/welcome_email?delay=1h", json=LETTER, headers=bearer(OLD))
    said = [line for line in lines if line["event"] == "changed"]
    assert [(line["who"], line["action"], line["path"], line["status"]) for line in said] == [
        ("ci", "cancel_job", f"{job}/cancel", 200),
        ("ci", "cancel_job", f"{job}/cancel", 409),
        ("ci", "pause_queue", "/v1/queues/default/pause", 200),
    ]
    assert {line["address"] for line in said} == {"203.0.113.7"}


async def test_who_cancels_a_job_by_putting_another_in_its_place_stands_in_the_audit(
    client: httpx.AsyncClient,
) -> None:
    path = "/v1/jobs/welcome_email?delay=1h&unique_key=ada&on_conflict=replace"
    first, second = [await client.post(path, json=LETTER, headers=bearer(key)) for key in (OLD, NEW)]
    assert second.headers["replaced-job"] == first.headers["location"] and "replaced-job" not in first.headers
    (entry,) = (await client.get("/v1/audit?kind=changed", headers=bearer(OLD))).json()["entries"]
    assert (entry["by"], entry["action"], entry["status"]) == ("ci", "cancel_job", 202)
    assert (entry["path"], entry["made"]) == (first.headers["location"], second.headers["location"])


async def test_each_refused_credential_is_logged_and_counted_and_the_key_is_not_shown(
    client: httpx.AsyncClient,
) -> None:
    wrong = "wrong-key-0123456789"
    with capture_logs() as lines:
        await client.get("/v1/jobs")
        await client.head("/v1/jobs", headers=bearer(wrong))
        await client.post("/v1/jobs/welcome_email", json=LETTER, headers=bearer(READER))
        late = await client.get("/docs", headers=bearer(PAST))
    assert late.status_code == 401 and "expired" in late.json()["detail"]
    said = [line for line in lines if line["event"] == "credential refused"]
    assert [line["reason"] for line in said] == ["missing", "wrong", "scope", "expired"]
    assert said[2]["who"].startswith("sha256:") and wrong not in str(lines) and READER not in str(lines)
    metrics = (await client.get("/metrics", headers=bearer(READER))).text
    for reason, number in (("missing", 1), ("wrong", 1), ("scope", 1), ("expired", 1), ("elsewhere", 0)):
        assert f'errand_refused_credentials_total{{reason="{reason}"}} {number}\n' in metrics


async def test_a_flood_of_refused_credentials_is_counted_and_does_not_fill_the_log(client: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        answers = [await client.get("/v1/jobs") for _ in range(LINES_IN_A_MINUTE * 3)]
    # the minute may have changed meanwhile
    assert len([line for line in lines if line["event"] == "credential refused"]) <= 2 * LINES_IN_A_MINUTE
    assert [answer.status_code for answer in answers[:60]] == [401] * 60
    problem_of(answers[60], 429, "too-many-refused")
    assert 0 < int(answers[60].headers["retry-after"]) <= 60
    metrics = (await client.get("/metrics", headers=bearer(READER))).text
    assert f'{{reason="missing"}} {LINES_IN_A_MINUTE * 3}\n' in metrics
    assert (await client.get("/v1/jobs", headers=bearer(READER))).status_code == 200


async def test_who_guesses_keys_is_not_let_in_by_a_right_one_and_locks_nobody_out(client: httpx.AsyncClient) -> None:
    async def status(key: str) -> int:
        return (await client.get("/v1/jobs", headers=bearer(key))).status_code

    assert await status(READER) == 200
    for _ in range(100):  # a client with an old key
        await status("wrong-key-0123456789")
    assert await status(NEW) == 200
    for number in range(60):
        await status(f"guess-{number:016}")
    assert (await status(OLD), await status(READER), await status(NEW)) == (429, 200, 200)
    put = await client.post("/v1/jobs/welcome_email", json=LETTER, headers=bearer(OLD))
    problem_of(put, 429, "too-many-refused")
    metrics = (await client.get("/metrics", headers=bearer(READER))).text
    assert 'errand_refused_credentials_total{reason="throttled"} 2\n' in metrics


async def test_the_audit_is_kept_and_read_by_admins_page_by_page(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    schedule = {"type": "welcome_email", "args": LETTER, "cron": "0 0 1 1 *"}
    made = await client.post("/v1/schedules", json=schedule, headers=bearer(OLD))
    await client.post("/v1/jobs/welcome_email", json=LETTER)  # the fast path
    await client.post("/v1/jobs/welcome_email", json=LETTER, headers=bearer(OLD))
    await client.post("/v1/queues/default/pause", headers=bearer(NEW))
    await client.post("/v1/queues/nope/pause", headers=bearer(NEW))
    await client.post("/v1/email-events", json={"events": []}, headers=bearer(NEW))
    await redis.xadd("errand:audit:changed", {"entry": b"garbage"})
    await client.post("/v1/queues/default/resume", headers=bearer(READER))

    async def audit(**query: Any) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        while True:
            page = (await client.get("/v1/audit", params=query, headers=bearer(OLD))).json()
            seen += page["entries"]
            if (cursor := page["cursor"]) is None:
                return seen
            query["cursor"] = cursor

    def essence(entries: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
        return [(entry["kind"], entry["by"], entry["action"], entry["status"], entry["reason"]) for entry in entries]

    everything = await audit(limit=1)
    reader = everything[0]["by"]
    assert reader.startswith("sha256:")
    assert essence(everything) == [
        ("refused", reader, "resume_queue", 403, "scope"),
        ("reported", "ci", "take_email_events", 200, None),
        ("changed", "ci", "pause_queue", 404, None),
        ("changed", "ci", "pause_queue", 200, None),
        ("refused", None, None, 401, "missing"),
        ("changed", "ci", "create_schedule", 201, None),
    ]
    assert everything[-1]["made"] == made.headers["location"] and everything[0]["address"] == "203.0.113.7"
    assert await audit() == everything
    assert await audit(by="ci", action="pause_queue") == everything[2:4]
    assert await audit(kind="refused") == [everything[0], everything[4]]
    at = everything[2]["at"]
    assert await audit(since=at) + await audit(until=at) == everything
    assert await audit(since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z") == everything
    assert await audit(until="0001-01-01T00:00:00Z") == []
    for cursor in ("x", "0-0-changed", "1-\u0663-changed"):  # Redis has no position before the first
        refused = await client.get("/v1/audit", params={"cursor": cursor}, headers=bearer(OLD))
        problem_of(refused, 422, "invalid-request")


async def test_the_audit_is_bounded_each_kind_by_itself(redis: ArqRedis) -> None:
    trail = AuditTrail(redis, limit=100)
    entry = AuditEntry(kind="changed", by="ci", action="a", method="POST", path="/", address="", status=200)
    await trail.add(entry)
    for _ in range(400):
        await trail.add(replace(entry, kind="refused"))
    page = await trail.page(AuditFilter(), limit=1_000)
    kinds = Counter(entry.kind for _, entry in page.entries)
    assert kinds["changed"] == 1 and 100 <= kinds["refused"] <= 200
    assert page.entries[-1][1] == entry and page.next is None


async def test_without_redis_the_answer_is_the_same_and_the_log_has_the_entry(
    open_client: OpenClient, tmp_path: Path
) -> None:
    guarded = make_settings(tmp_path, api_keys=KEYS)
    async with open_client(guarded, redis_url=f"unix://{tmp_path}/none", client=("203.0.113.7", 50_000)) as client:
        with capture_logs() as lines:
            assert (await client.get("/v1/jobs")).status_code == 401
    events = [line["event"] for line in lines if not line["event"].startswith("redis is")]
    assert events == ["credential refused", "an entry of the audit is in the log alone"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("mailgun", {"signature": {"timestamp": "1", "token": "t", "signature": "s"}}),
        ("postmark", {}),
        ("ses", {"Type": "Notification"}),
    ],
)
async def test_providers_of_mail_are_in_the_audit_too(
    open_client: OpenClient, tmp_path: Path, redis: ArqRedis, redis_url: str, path: str, body: dict[str, Any]
) -> None:
    secrets = {"mailgun_signing_key": "key-0123456789", "postmark_webhook_password": "pass-0123456789"}
    secrets["ses_topic_arn"] = "arn:aws:sns:eu-west-1:123456789012:mail"
    guarded = make_settings(tmp_path, redis_url=redis_url, api_keys=KEYS, **secrets)
    async with open_client(guarded, client=("203.0.113.7", 50_000)) as client:
        problem_of(await client.post(f"/v1/email-events/{path}", json=body), 401, "unauthorized")
        (entry,) = (await client.get("/v1/audit", headers=bearer(OLD))).json()["entries"]
        metrics = (await client.get("/metrics", headers=bearer(OLD))).text
    assert (entry["reason"], entry["action"]) == ("signature", f"take_{path}_event")
    assert 'errand_refused_credentials_total{reason="signature"} 1\n' in metrics


async def test_a_bounded_number_of_addresses_is_remembered() -> None:
    throttle = RefusalThrottle(RequestRate(quota=1, window_s=60))
    for number in range(MAX_ADDRESSES * 2):
        assert throttle.refuse(f"10.0.{number >> 8}.{number & 255}", guess="x") is None
        throttle.admit(f"10.1.{number >> 8}.{number & 255}", b"digest")
    assert len(throttle._windows) == MAX_ADDRESSES
    # all addresses of one network of IPv6 are one client
    assert (throttle.refuse("2001:db8::1"), throttle.refuse("2001:db8::2") is None) == (None, False)
