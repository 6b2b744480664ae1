"""The job `webhook`, from its args to a real receiver that verifies what it is sent."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks
from aiohttp import web
from arq.connections import ArqRedis
from pydantic import ValidationError

from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.monitor.waiting import why_waiting
from errand.process.worker import opened
from errand.queue.queue import Queue
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.secret import secret_of_url
from errand.wire import keys
from errand.wire.records import Error
from jobs.webhook import Webhook, webhook
from jobs.welcome_email import welcome_email
from settings import Settings
from tests.conftest import RunWorker, make_settings
from tests.peers import HttpReceiver, Received
from tests.ports import free_port
from tests.waiting import eventually
from tests.webhooks.post.hostile import DECIDED, receiving
from tests.worker.test_worker import due_now, ended

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return make_settings(tmp_path, webhook_secret=SECRET)


QUEUES = [keys.queue(WEBHOOK_QUEUE)]
LETTER = {"to": "ada@example.com", "name": "Ada"}


async def enqueue(redis: ArqRedis, url: str) -> str:
    args = {"url": url, "event": "user.created", "data": {"id": 7, "name": "Žofie"}}
    return (await Queue(redis, name=WEBHOOK_QUEUE, ended_ttl_s=60).enqueue("webhook", args)).job_id


async def attempted(redis: ArqRedis, job_id: str) -> JobSnapshot:
    """The job once its first attempt has ended."""

    async def look() -> JobSnapshot | None:
        snapshot = await read_job(redis, job_id, queues=QUEUES)
        return snapshot if snapshot is not None and snapshot.attempts else None

    return await eventually(look)


def verified(request: Received, secret: str = SECRET) -> Any:
    """The event that a receiver reads with the library of the Standard Webhooks authors."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    return standardwebhooks.Webhook(secret).verify(request.body.decode(), headers)


def wait_ms(job: JobSnapshot, number: int) -> int:
    """What was planned between the end of that attempt and the next."""
    attempt = job.attempts[number - 1]
    assert attempt.next_attempt_at_ms is not None
    return attempt.next_attempt_at_ms - attempt.ended_at_ms


# --- delivery


async def test_a_receiver_can_verify_a_delivery(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver, tmp_path: Path
) -> None:
    # with a secret that is made on the spot, and one that was before
    async with run_worker([webhook], make_settings(tmp_path, webhook_old_secrets=SECRET)):
        job_id = await enqueue(redis, f"{receiver.url}/hooks?for=me")
        done = await ended(redis, job_id)
    assert done.status == "succeeded" and done.result["status"] == 204 and len(done.attempts) == 1
    (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", "/hooks")
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["webhook-id"] == job_id
    own = (tmp_path / "webhook_secret").read_text().strip()
    event = verified(request, own)
    for secret in (own, SECRET):
        assert verified(request, secret_of_url(secret, f"{receiver.url}/hooks?for=me")) == event
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verified(request, secret_of_url(own, "https://another.example/"))
    enqueued_at = datetime.fromtimestamp(done.enqueued_at_ms / 1000, UTC)
    assert datetime.fromisoformat(event.pop("timestamp")) == enqueued_at
    assert event == {"type": "user.created", "data": {"id": 7, "name": "Žofie"}}


async def test_a_receiver_that_is_down_twice_gets_the_same_event_signed_anew(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [503, 503, 200]
    job_id = await enqueue(redis, receiver.url)
    async with run_worker([webhook]):
        for sent in (1, 2):
            await receiver.wait_for(sent)
            await next_second()
            await due_now(redis, job_id, queue=WEBHOOK_QUEUE)
        done = await ended(redis, job_id)
    assert [attempt.outcome for attempt in done.attempts] == ["retry", "retry", "succeeded"]
    assert 4_500 <= wait_ms(done, 1) <= 5_500 and 270_000 <= wait_ms(done, 2) <= 330_000
    assert {request.headers["webhook-id"] for request in receiver.requests} == {job_id}
    assert len({request.body for request in receiver.requests}) == 1
    assert len({request.headers["webhook-signature"] for request in receiver.requests}) == 3
    for attempt, request in zip(done.attempts, receiver.requests, strict=True):
        timestamp_s = int(request.headers["webhook-timestamp"])
        assert attempt.started_at_ms // 1000 <= timestamp_s <= attempt.ended_at_ms // 1000
        assert verified(request)["data"]["id"] == 7


async def test_a_job_id_with_a_dot_is_signed_under_another_and_large_integers_arrive_as_they_are(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    args = {"url": receiver.url, "event": "invoice.payment-failed", "data": [2**53 + 1, -(2**64), 10**40]}
    async with run_worker([webhook]):
        await Queue(redis, name=WEBHOOK_QUEUE, ended_ttl_s=60).enqueue("webhook", args, job_id="order.7")
        (request,) = await receiver.wait_for(1)
    assert "." not in request.headers["webhook-id"]
    assert verified(request)["type"] == "invoice.payment-failed"
    assert json.loads(request.body)["data"] == args["data"]


async def test_a_delivery_known_to_be_taken_is_not_repeated(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    """Redis does not answer from before the receiver's answer until after the lease has ended."""
    receiver.delay_s = 0.2
    job_id = await enqueue(redis, receiver.url)
    async with run_worker([webhook], lease_s=1.0):
        await receiver.wait_for(1)
        await redis.client_pause(1500)
        done = await ended(redis, job_id)
    assert (done.status, len(done.attempts), len(receiver.requests)) == ("succeeded", 1, 1)


@pytest.mark.parametrize("name", ["204 with a body", "a header of 20 kB", "reset before the body", "hangs in the body"])
async def test_no_success_is_delivered_twice_however_it_goes_on(
    redis: ArqRedis, run_worker: RunWorker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.webhooks.post.connection.REST_S", 0.1)
    status, steps = DECIDED[name]
    async with receiving(*steps) as hostile, run_worker([webhook]):
        done = await ended(redis, await enqueue(redis, hostile.url))
    assert (done.status, done.result["status"], hostile.requests) == ("succeeded", status, 1)


async def next_second() -> None:
    """Timestamps are whole seconds: only in another one can they differ."""
    now_s = int(time.time())

    async def passed() -> bool:
        return int(time.time()) > now_s

    await eventually(passed)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 429, 500])
async def test_any_other_answer_is_tried_again_and_no_redirect_followed(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver, status: int
) -> None:
    receiver.answers = [web.Response(status=status, headers={"Location": "/elsewhere"}, text="not\nnow")]
    async with run_worker([webhook]):
        job = await attempted(redis, await enqueue(redis, receiver.url))
    assert job.status == "deferred"
    assert job.attempts[0].error == Error(
        "Retry", f"the receiver answered {status}: not\nnow", fingerprint="Retry@errand.webhooks.delivery:_check_taken"
    )
    assert [request.path for request in receiver.requests] == ["/"]


async def test_a_receiver_that_is_gone_receives_no_more(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [410]
    async with run_worker([webhook]):
        done = await ended(redis, await enqueue(redis, receiver.url))
    assert (done.status, len(done.attempts)) == ("failed", 1)
    assert done.error is not None and "410" in done.error.message


async def test_a_receiver_that_does_not_answer_in_time_is_tried_again(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.webhooks.target.DEADLINE_S", 0.2)
    receiver.delay_s = 60
    async with run_worker([webhook]):
        job = await attempted(redis, await enqueue(redis, receiver.url))
    assert job.attempts[0].outcome == "retry"
    assert job.attempts[0].error == Error(
        "Retry", "timeout: no answer in time (0.2 s)", fingerprint="Retry@errand.webhooks.delivery:Deliverer.deliver"
    )


async def test_the_start_of_a_long_complaint_is_kept(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [web.Response(status=500, body=b"\xff" + b"x" * 10_000_000)]
    async with run_worker([webhook]):
        job = await attempted(redis, await enqueue(redis, receiver.url))
    assert job.attempts[0].error is not None
    assert job.attempts[0].error.message == f"the receiver answered 500: \N{REPLACEMENT CHARACTER}{'x' * 199}"


async def test_a_receiver_that_hangs_holds_up_no_other_and_no_other_job(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver, tmp_path: Path
) -> None:
    """All deliveries to it are due before the others."""
    settings = make_settings(tmp_path, webhook_concurrency=20, webhook_host_concurrency=100)
    async with receiving("hang") as hanging:
        for _ in range(100):
            await enqueue(redis, hanging.url)
        others = [await enqueue(redis, receiver.url) for _ in range(5)]
        letter = await Queue(redis, name="mail", ended_ttl_s=60).enqueue("welcome_email", LETTER)
        async with run_worker([webhook, welcome_email], settings, max_jobs=20):
            for job_id in (*others, letter.job_id):
                assert (await ended(redis, job_id)).status == "succeeded"
            waiting = await eventually(partial(put_back, redis))
        assert hanging.requests <= 10, "half of the slots"
    assert waiting.attempts == () and waiting.tries == 0
    why = await why_waiting(redis, waiting, silent_s=10)
    assert why is not None and why.code == "endpoint_busy" and "is busy" in why.detail


async def put_back(redis: ArqRedis) -> JobSnapshot | None:
    """A delivery that waits for its turn."""
    for job_id in await redis.zrange(QUEUES[0], 0, -1):
        job = await read_job(redis, job_id.decode(), queues=QUEUES)
        if job is not None and job.put_back is not None and job.status == "deferred":
            return job
    return None


# --- Retry-After


PAST = "Sun, 01 Nov 2020 12:00:00 GMT"


@pytest.mark.parametrize(
    ("asked", "planned_ms"),
    [("90", (90_000, 90_000)), *((asked, (4_500, 5_500)) for asked in ("1", "0", PAST, "soon"))],
)
async def test_retry_after_lengthens_the_wait_and_never_shortens_it(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver, asked: str, planned_ms: tuple[int, int]
) -> None:
    receiver.answers = [web.Response(status=429, headers={"Retry-After": asked})]
    async with run_worker([webhook]):
        job = await attempted(redis, await enqueue(redis, receiver.url))
    assert planned_ms[0] <= wait_ms(job, 1) <= planned_ms[1]


# --- what is refused


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433"])
async def test_loopback_is_refused_at_once_unless_a_setting_lets_it_through(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver, tmp_path: Path, host: str
) -> None:
    async with run_worker([webhook], make_settings(tmp_path, webhook_allow_networks="")):
        done = await ended(redis, await enqueue(redis, receiver.url.replace("127.0.0.1", host)))
    assert (done.status, len(done.attempts)) == ("failed", 1)
    assert done.error is not None and "not public (WEBHOOK_ALLOW_NETWORKS" in done.error.message
    assert receiver.requests == []


async def test_a_host_that_cannot_exist_is_refused_at_once(redis: ArqRedis, run_worker: RunWorker) -> None:
    async with run_worker([webhook]):
        done = await ended(redis, await enqueue(redis, f"http://{'a' * 64}.example/"))
    assert (done.status, len(done.attempts)) == ("failed", 1)


@pytest.mark.parametrize("userinfo", ["ada:s3cret@", "ada@", ":s3cret@"])
async def test_credentials_in_a_url_are_a_validation_error_that_does_not_repeat_them(
    client: httpx.AsyncClient, userinfo: str
) -> None:
    body = {"url": f"https://{userinfo}receiver.example/", "event": "user.created", "data": None}
    answer = await client.post("/v1/jobs/webhook", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "body.url" and "no credentials" in error["message"]
    assert "s3cret" not in answer.text


@pytest.mark.parametrize(
    "faulty",
    [
        {"url": "ftp://receiver.example/"},
        {"url": "/hooks"},
        {"event": ""},
        {"event": "user created"},
        {"event": "user.created\n"},
        {"event": "x" * 129},
        {"to": "nobody"},
    ],
)
def test_args_that_make_no_event_are_refused(faulty: dict[str, Any]) -> None:
    good = {"url": "https://receiver.example/", "event": "user.created", "data": None}
    Webhook.model_validate(good)
    with pytest.raises(ValidationError):
        Webhook.model_validate({**good, **faulty})


# --- the sink


async def test_the_sink_keeps_deliveries_and_is_the_one_loopback_endpoint_let_through(
    redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver, tmp_path: Path
) -> None:
    port = free_port()
    only_sink = make_settings(tmp_path, webhook_secret=SECRET, webhook_allow_networks="", webhook_sink_port=port)
    async with run_worker([webhook], only_sink):
        to_sink = await ended(redis, await enqueue(redis, f"http://127.0.0.1:{port}/any/path"))
        beside = await ended(redis, await enqueue(redis, receiver.url))
    assert (to_sink.status, beside.status, receiver.requests) == ("succeeded", "failed", [])
    kept = json.loads(text_of(tmp_path / "webhooks" / f"{to_sink.id}.json"))
    assert verified(Received(0, "POST", "/", kept["headers"], kept["body"].encode()))["type"] == "user.created"


def text_of(path: Path) -> str:
    return path.read_text()


async def test_a_second_worker_uses_the_sink_of_the_first(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    port = free_port()
    first, second = (
        make_settings(tmp_path / name, webhook_allow_networks="", webhook_sink_port=port) for name in ("1", "2")
    )
    async with opened([webhook], first), run_worker([webhook], second):
        done = await ended(redis, await enqueue(redis, f"http://127.0.0.1:{port}/"))
    assert done.status == "succeeded" and text_of(tmp_path / "1" / "webhooks" / f"{done.id}.json")
