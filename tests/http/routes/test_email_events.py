"""`/v1/email-events`: bounces and complaints in each shape, who may report them, and what they change."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.mail.deliveries import Deliveries
from errand.mail.events import sns
from errand.mail.events.email_event import EmailEvent
from errand.mail.suppressions import Suppressions
from errand.queue.queue import Queue
from errand.settings import MAIL_QUEUE
from jobs.welcome_email import welcome_email
from settings import Settings
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.http.answers_seen import faulty_fields, problem_of
from tests.mail.events import sns_messages
from tests.peers import SmtpReceiver
from tests.worker.test_worker import ended

BOUNCE = {"event": "bounced", "address": "ada@example.com", "permanent": True, "job_id": "1", "detail": "550 5.1.1 no"}

DSN = b"""From: MAILER-DAEMON@mx.example\r
To: bounces+1@acme.example\r
Subject: Undelivered\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary="x"\r
\r
--x\r
\r
I am sorry.\r
--x\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example\r
\r
Final-Recipient: rfc822; ada@example.com\r
Action: failed\r
Status: %b\r
Diagnostic-Code: smtp; 550 %b no such user\r
\r
Final-Recipient: rfc822; bo@example.com\r
Action: delivered\r
Status: 2.0.0\r
\r
--x\r
Content-Type: text/rfc822-headers\r
\r
From: hello@acme.example\r
Message-ID: <1@acme.example>\r
\r
--x--\r
"""


async def suppressed(redis: ArqRedis) -> dict[str, str]:
    return {each.address: each.reason for each in await Suppressions(redis).page(limit=10)}


async def state(redis: ArqRedis, job_id: str = "1") -> str | None:
    found = await Deliveries(redis, ttl_s=60).find(job_id)
    return found.state if found else None


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"event": "bounced", "permanent": True}, "hard_bounce"),
        ({"event": "bounced"}, None),
        ({"event": "complained"}, "complaint"),
        ({"event": "unsubscribed"}, "unsubscribe"),
        ({"event": "delivered"}, None),
        ({"event": "deferred"}, None),
    ],
)
async def test_an_event_suppresses_or_not(
    client: httpx.AsyncClient, redis: ArqRedis, event: dict[str, Any], reason: str | None
) -> None:
    events = {"events": [{"address": "Ada@example.com", "message_id": "<1@acme.example>", **event}]}
    for _ in range(2):
        assert (await client.post("/v1/email-events", json=events)).json() == {"taken": 1}
    assert await suppressed(redis) == ({"ada@example.com": reason} if reason else {})
    assert (await client.get("/v1/emails/1")).json()["state"] == event["event"]


async def test_events_in_any_order_end_in_the_same_state(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    for what in ("bounced", "deferred", "delivered"):
        await client.post("/v1/email-events", json={"events": [{**BOUNCE, "event": what, "permanent": False}]})
    assert await state(redis) == "bounced"


async def test_events_that_come_at_once_or_before_the_letter_is_noted_are_none_too_many(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries = Deliveries(redis, ttl_s=60)
    bounced, delivered = [
        EmailEvent(event=what, address="ada@example.com", job_id="1") for what in ("bounced", "delivered")
    ]
    replace = deliveries._replace

    async def later(**call: Any) -> int:
        """The other one comes between what is read and what is written."""
        monkeypatch.setattr(deliveries, "_replace", replace)
        await deliveries.take(bounced)
        written: int = await replace(**call)
        return written

    monkeypatch.setattr(deliveries, "_replace", later)
    await deliveries.take(delivered)
    assert await state(redis) == "bounced"
    await accepted(redis, "1", "ada@example.com", "bo@example.com")
    assert await state(redis) == "bounced"
    of_bo = EmailEvent(event="complained", address="bo@example.com", job_id="1")
    assert await deliveries.take_report(of_bo), "the letter went there, too"


@pytest.mark.parametrize(("status", "is_suppressed"), [(b"5.1.1", True), (b"5.7.1", False), (b"5.2.2", False)])
async def test_a_bounce_is_read_as_mail_servers_send_it(
    client: httpx.AsyncClient, redis: ArqRedis, status: bytes, is_suppressed: bool
) -> None:
    await accepted(redis, "1", "ada@example.com")
    answer = await client.post("/v1/email-events/dsn", content=DSN % (status, status))
    assert answer.json() == {"taken": 1}, "the letter did not go to the other"
    assert await suppressed(redis) == ({"ada@example.com": "hard_bounce"} if is_suppressed else {})
    assert await state(redis) == "bounced"


async def accepted(redis: ArqRedis, job_id: str, *recipients: str) -> None:
    await Deliveries(redis, ttl_s=60).accepted(job_id, recipients, detail="250 OK")


@pytest.mark.parametrize("header", ["To", "Delivered-To"])
async def test_a_bounce_names_its_job_by_the_address_it_came_to(
    open_client: OpenClient, redis: ArqRedis, tmp_path: Path, header: str
) -> None:
    """Whatever else it says: many servers return nothing of the letter, or one that they have changed."""
    await accepted(redis, "job-7", "bo@example.com", "ada@xn--bcher-kva.example")
    report = DSN.replace(b"To: bounces+1", header.encode() + b": Acme <Bounces+job-7").replace(
        b"acme.example", b"acme.example>", 1
    )
    report = (report % (b"5.1.1", b"5.1.1")).replace(b"ada@example.com", "ada@bücher.example".encode())
    async with open_client(make_settings(tmp_path, mail_return_path="bounces@acme.example")) as client:
        assert (await client.post("/v1/email-events/dsn", content=report)).status_code == 200
    assert await suppressed(redis) == {"ada@xn--bcher-kva.example": "hard_bounce"}
    assert await state(redis, "job-7") == "bounced"


@pytest.mark.parametrize("recipient", [None, "eve@example.com"])
async def test_a_forged_bounce_cuts_nobody_off(
    client: httpx.AsyncClient, redis: ArqRedis, recipient: str | None
) -> None:
    """Anybody can write to the return path: only a letter that went to the address can have bounced."""
    if recipient:
        await accepted(redis, "1", recipient)
    answer = await client.post("/v1/email-events/dsn", content=DSN % (b"5.1.1", b"5.1.1"))
    assert (answer.status_code, answer.json()) == (200, {"taken": 0})
    assert await suppressed(redis) == {}
    assert await state(redis) == ("accepted" if recipient else None)


async def test_a_report_of_too_many_recipients_is_refused(client: httpx.AsyncClient) -> None:
    group = b"\r\n\r\nFinal-Recipient: rfc822; ada@example.com\r\nAction: failed\r\nStatus: 5.7.1"
    report = b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example" + group * 1001
    problem_of(await client.post("/v1/email-events/dsn", content=report), 422, "invalid-request")


async def test_a_report_that_is_nested_without_end_is_refused(client: httpx.AsyncClient) -> None:
    nested = b"Content-Type: message/rfc822\r\n\r\n" * 10_000
    problem_of(await client.post("/v1/email-events/dsn", content=nested), 422, "invalid-request")


@pytest.mark.parametrize("body", [b"", b"hello", b"Content-Type: message/delivery-status\r\n\r\n", b"\xff\0" * 100])
async def test_what_is_no_bounce_is_refused_or_changes_nothing(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/email-events/dsn", content=body)
    assert answer.status_code == 422 or answer.json() == {"taken": 0}


def mailgun(event: dict[str, Any], key: str = "key-0123456789", *, later_s: int = 0) -> dict[str, Any]:
    timestamp = str(int(time.time() + later_s))
    signature = hmac.new(key.encode(), f"{timestamp}tok".encode(), hashlib.sha256).hexdigest()
    signed = {"timestamp": timestamp, "token": "tok", "signature": signature}
    message = {"headers": {"message-id": "1@acme.example"}}
    return {"signature": signed, "event-data": {"recipient": "ada@example.com", "message": message, **event}}


@pytest.fixture
def with_providers(settings: Settings, tmp_path: Path) -> Settings:
    return make_settings(tmp_path, mailgun_signing_key="key-0123456789", postmark_webhook_password="pass-01234")


async def test_mailguns_events_are_admitted_by_their_signature(
    open_client: OpenClient, with_providers: Settings, redis: ArqRedis
) -> None:
    failed = {"event": "failed", "severity": "permanent", "delivery-status": {"message": "5.1.1 no such user"}}
    async with open_client(with_providers) as client:
        forged = await client.post("/v1/email-events/mailgun", json=mailgun(failed, key="another-key"))
        problem_of(forged, 401, "unauthorized")
        odd = {"signature": {"timestamp": "1", "token": "tok", "signature": "é"}}
        others = [mailgun(failed, later_s=later_s) for later_s in (-25 * 3600, 25 * 3600, 10**12)]
        for body in ({}, {"signature": 1}, {"event-data": failed}, odd, *others):
            assert (await client.post("/v1/email-events/mailgun", json=body)).status_code == 401
        assert await suppressed(redis) == {}
        assert (await client.post("/v1/email-events/mailgun", json=mailgun(failed))).json() == {"taken": 1}
        problem_of(
            await client.post("/v1/email-events/mailgun", json=mailgun({"event": "opened"})), 422, "invalid-request"
        )
    assert (await suppressed(redis), await state(redis)) == ({"ada@example.com": "hard_bounce"}, "bounced")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"enhanced-code": "5.1.1", "message": "no such user"}, "hard_bounce"),
        ({"enhanced-code": "5.7.1", "message": "blocked, see https://mx.example"}, None),
        ({"code": 550, "message": "5.7.26 unauthenticated mail"}, None),
        ({"code": 554, "message": "spam"}, None),
        ({"enhanced-code": 5}, None),
    ],
)
async def test_mailgun_calls_permanent_what_need_not_mean_the_address(
    open_client: OpenClient, with_providers: Settings, redis: ArqRedis, status: dict[str, Any], reason: str | None
) -> None:
    failed = {"event": "failed", "severity": "permanent", "delivery-status": status}
    async with open_client(with_providers) as client:
        assert (await client.post("/v1/email-events/mailgun", json=mailgun(failed))).json() == {"taken": 1}
    assert (list((await suppressed(redis)).values()), await state(redis)) == ([reason] if reason else [], "bounced")


async def test_postmarks_events_are_admitted_by_their_password(
    open_client: OpenClient, with_providers: Settings, redis: ArqRedis
) -> None:
    bounce = {"RecordType": "Bounce", "Type": "HardBounce", "Email": "ada@example.com", "Metadata": {"job-id": "1"}}
    async with open_client(with_providers) as client:
        for name, value in (
            ("x", "y"),
            ("authorization", "Basic eDp3cm9uZw=="),
            ("authorization", "Basic !"),
            ("authorization", "Basic é"),
        ):
            headers = httpx.Headers({name: value}, encoding="latin-1")
            refused = await client.post("/v1/email-events/postmark", json=bounce, headers=headers)
            problem_of(refused, 401, "unauthorized")
        taken = await client.post("/v1/email-events/postmark", json=bounce, auth=("x", "pass-01234"))
        assert taken.json() == {"taken": 1}
        odd = {**bounce, "Email": "no address"}
        assert (await client.post("/v1/email-events/postmark", json=odd, auth=("x", "pass-01234"))).status_code == 422
    assert (await suppressed(redis), await state(redis)) == ({"ada@example.com": "hard_bounce"}, "bounced")


async def test_events_of_ses_are_admitted_by_signature_and_topic(
    open_client: OpenClient, redis: ArqRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sns, "fetch", lambda url: sns_messages.certificate())
    bounced = {"emailAddress": "ada@example.com", "status": "5.1.1"}
    bounce = {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [bounced]}
    signed = sns_messages.message({"eventType": "Bounce", "bounce": bounce, "mail": {"tags": {"job-id": ["1"]}}})
    async with open_client(make_settings(tmp_path, ses_topic_arn=sns_messages.TOPIC)) as client:
        forged = await client.post("/v1/email-events/ses", json={**signed, "Message": "{}"})
        problem_of(forged, 401, "unauthorized")
        # SNS says that its JSON is text
        plain = {"content-type": "text/plain; charset=UTF-8"}
        taken = await client.post("/v1/email-events/ses", content=json.dumps(signed), headers=plain)
        assert taken.json() == {"taken": 1}
        url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
        asked = sns_messages.message("x", Type="SubscriptionConfirmation", Token="t", SubscribeURL=url)
        assert (await client.post("/v1/email-events/ses", json=asked)).json() == {"taken": 0}

        def fault(url: str) -> bytes:
            raise sns.FetchFault("sns answered 500")

        monkeypatch.setattr(sns, "fetch", fault)
        away = await client.post("/v1/email-events/ses", json=asked)
        assert problem_of(away, 503, "unavailable") and away.headers["retry-after"] == "5"
    assert (await suppressed(redis), await state(redis)) == ({"ada@example.com": "hard_bounce"}, "bounced")


@pytest.mark.parametrize("provider", ["mailgun", "postmark", "ses"])
async def test_a_provider_without_a_secret_is_not_heard(client: httpx.AsyncClient, provider: str) -> None:
    problem_of(await client.post(f"/v1/email-events/{provider}", json={}), 404, "not-found")


@pytest.mark.parametrize("wrong", [{"event": "opened"}, {"address": "x"}, {"more": 1}])
async def test_what_is_no_event_is_named(client: httpx.AsyncClient, wrong: dict[str, Any]) -> None:
    answer = await client.post("/v1/email-events", json={"events": [{**BOUNCE, **wrong}]})
    assert faulty_fields(answer) == [f"body.events.0.{next(iter(wrong))}"]


async def test_a_letter_is_accepted_then_delivered_and_bounces_name_its_job(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, mail_server: SmtpReceiver, tmp_path: Path
) -> None:
    queue = Queue(redis, name=MAIL_QUEUE, ended_ttl_s=60)
    settings = make_settings(tmp_path, smtp_url=mail_server.url, mail_return_path="bounces@acme.example")
    async with run_worker([welcome_email], settings):
        job_id = (await queue.enqueue("welcome_email", {"to": "ada@example.com", "name": "Ada"})).job_id
        await ended(redis, job_id)
    accepted = (await client.get(f"/v1/emails/{job_id}")).json()
    assert (accepted["state"], accepted["detail"]) == ("accepted", "250 OK")
    seen = await client.get(f"/v1/jobs/{job_id}")
    assert seen.json()["delivery"] == {name: accepted[name] for name in ("state", "address", "detail", "at")}
    assert mail_server.envelopes[0][0] == f"bounces+{job_id}@acme.example"
    delivered = {
        "event": "delivered",
        "address": "ada@example.com",
        "message_id": mail_server.messages[0]["Message-ID"],
    }
    await client.post("/v1/email-events", json={"events": [delivered]})
    assert (await client.get(f"/v1/emails/{job_id}")).json()["state"] == "delivered"
    changed = await client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": seen.headers["etag"]})
    assert (changed.status_code, changed.json()["delivery"]["state"]) == (200, "delivered")
    problem_of(await client.get("/v1/emails/nope"), 404, "no-letter")


async def test_mailguns_signature_admits_one_event_however_often_it_comes(
    open_client: OpenClient, with_providers: Settings, redis: ArqRedis
) -> None:
    """It says nothing of the body: who has seen one request could send others under it."""
    delivered = mailgun({"event": "delivered"})
    async with open_client(with_providers) as client:
        for _ in range(2):
            assert (await client.post("/v1/email-events/mailgun", json=delivered)).json() == {"taken": 1}
        forged = {**delivered, "event-data": {"event": "complained", "recipient": "bo@example.com"}}
        problem_of(await client.post("/v1/email-events/mailgun", json=forged), 401, "unauthorized")
    assert await suppressed(redis) == {}
    (name,) = await redis.keys("errand:seen-signature:*")
    assert await redis.ttl(name) > 24 * 3600


async def test_a_report_of_as_many_recipients_as_may_be_is_taken(client: httpx.AsyncClient) -> None:
    group = b"\r\n\r\nFinal-Recipient: rfc822; ada@example.com\r\nAction: failed\r\nStatus: 5.7.1"
    report = b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example" + group * 1000
    assert (await client.post("/v1/email-events/dsn", content=report)).status_code == 200
