"""`POST /v1/jobs/{type}`: what is accepted, when it is due, and what is refused before anything is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.http.answers.job_view import AcceptedJobView, job_view
from errand.http.answers.new_job import Usual, new_job_json, usual_job_json
from errand.job.catalog import Catalog
from errand.job.retry_policy import Delays, Exponential, RetryPolicy
from errand.monitor.job_snapshot import JobSnapshot
from jobs.webhook import webhook
from settings import Settings
from tests.conftest import OpenClient
from tests.http.answers_seen import LETTER, faulty_fields, problem_of, stored_files
from tests.http.requests import forms

EVENT = {"url": "https://receiver.example/", "event": "user.created", "data": {"id": 7}}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_job_is_accepted_with_its_place_and_its_first_state(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jobs/webhook", json=EVENT)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert {key: job[key] for key in ("type", "queue", "status", "attempt", "max_tries", "args", "attempts")} == {
        "type": "webhook",
        "queue": "webhooks",
        "status": "queued",
        "attempt": 0,
        "max_tries": webhook.max_tries,
        "args": EVENT,
        "attempts": [],
    }
    assert job["enqueued_at"].endswith("Z") and job["run_at"].endswith("Z")
    receipt = job.pop("durability")
    seen = (await client.get(answer.headers["location"])).json()
    assert (seen.pop("waiting")["code"], seen.pop("delivery")) == ("no_worker", None)
    assert seen == job
    assert receipt == "memory", "the server of these tests writes nothing to disk"


@pytest.mark.parametrize(("delay", "delay_s"), [("90", 90), ("1.5s", 1.5), ("2h30m", 9000), ("366d", 366 * 86_400)])
async def test_a_delay_counts_from_now(client: httpx.AsyncClient, delay: str, delay_s: float) -> None:
    job = (await client.post("/v1/jobs/welcome_email", params={"delay": delay}, json=LETTER)).json()
    assert job["status"] == "deferred"
    waits_s = (at(job["run_at"]) - at(job["enqueued_at"])).total_seconds()
    # two clocks, the API's and Redis', and what lies between the two looks at them
    assert delay_s - 0.5 < waits_s < delay_s + 30


async def test_a_future_run_at_defers_to_that_moment(client: httpx.AsyncClient) -> None:
    for wanted in ("2999-12-31T23:30:00+05:30", "9999-12-31T23:59:59Z"):
        job = (await client.post("/v1/jobs/welcome_email", params={"run_at": wanted}, json=LETTER)).json()
        assert (job["status"], at(job["run_at"])) == ("deferred", at(wanted))


async def test_the_last_moment_that_can_be_asked_for_can_be_shown(client: httpx.AsyncClient) -> None:
    when = {"run_at": "9999-12-31T23:59:59.999999Z"}
    put = await client.post("/v1/jobs/welcome_email", params=when, json=LETTER)
    moved = await client.post("/v1/jobs/welcome_email", json=LETTER)
    await client.post(f"{moved.headers['location']}/reschedule", params=when)
    for accepted in (put, moved):
        job = (await client.get(accepted.headers["location"])).json()
        assert (job["status"], job["run_at"]) == ("deferred", "9999-12-31T23:59:59Z")


@pytest.mark.parametrize(
    "when", [{"run_at": "2020-01-01T00:00:00Z"}, {"run_at": "0001-01-01T00:00:00Z"}, {"delay": "0"}]
)
async def test_what_is_past_is_due_at_once(client: httpx.AsyncClient, when: dict[str, str]) -> None:
    job = (await client.post("/v1/jobs/welcome_email", params=when, json=LETTER)).json()
    assert job["status"] == "queued"
    assert abs((at(job["run_at"]) - datetime.now(UTC)).total_seconds()) < 5


@pytest.mark.parametrize(
    ("when", "field"),
    [
        ({"delay": "5", "run_at": "2030-01-01T00:00:00Z"}, "query.delay"),
        ({"delay": "-1"}, "query.delay"),
        ({"delay": "soon"}, "query.delay"),
        ({"delay": "nan"}, "query.delay"),
        ({"delay": "9" * 400}, "query.delay"),
        ({"delay": "367d"}, "query.delay"),
        ({"run_at": "2027-01-01T00:00:00"}, "query.run_at"),  # naive: in whose time?
        ({"run_at": "tomorrow"}, "query.run_at"),
        ({"run_at": "0001-01-01T00:00:00+14:00"}, "query.run_at"),
        ({"run_at": "9999-12-31T23:59:59-10:00"}, "query.run_at"),  # the year 10000 in UTC
    ],
)
async def test_a_time_that_cannot_be_meant_is_refused(
    client: httpx.AsyncClient, redis: ArqRedis, when: dict[str, str], field: str
) -> None:
    assert faulty_fields(await client.post("/v1/jobs/welcome_email", params=when, json=LETTER)) == [field]
    assert await redis.dbsize() == 0


async def test_an_unknown_type_is_refused_with_the_known_ones(client: httpx.AsyncClient) -> None:
    details = problem_of(await client.post("/v1/jobs/fax", json={}), 404, "unknown-job-type")
    assert "fax" in details["detail"]
    assert all(name in details["detail"] for name in ("resize", "webhook", "welcome_email"))


@pytest.mark.parametrize(
    ("type_name", "args", "fields"),
    [
        ("welcome_email", {"name": "Ada"}, ["body.to"]),
        ("welcome_email", {"to": "not an address", "name": "Ada"}, ["body.to"]),
        ("welcome_email", {"to": "ada@example.com", "name": "Ada\nBcc: eve@example.com"}, ["body.name"]),
        ("welcome_email", {"to": 1, "name": ""}, ["body.to", "body.name"]),
        ("welcome_email", {**LETTER, "nmae": "Ada"}, ["body.nmae"]),
        ("webhook", {**EVENT, "url": "not a url"}, ["body.url"]),
        ("webhook", {**EVENT, "url": "file:///etc/passwd"}, ["body.url"]),
        ("webhook", {**EVENT, "url": "https://user:pass@receiver.example/"}, ["body.url"]),
        ("resize", {"sizes": [{"width": 0}], "source_url": "https://e.example/a.jpg"}, ["body.sizes.0.width"]),
        ("resize", {"sizes": [{"width": 10}]}, ["body"]),
        ("welcome_email", ["ada@example.com"], ["body"]),
        ("welcome_email", None, ["body"]),
    ],
)
async def test_wrong_args_are_refused_with_each_field_named(
    client: httpx.AsyncClient, redis: ArqRedis, type_name: str, args: Any, fields: list[str]
) -> None:
    assert faulty_fields(await client.post(f"/v1/jobs/{type_name}", json=args)) == fields
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}]
)
@pytest.mark.parametrize("type_name", ["welcome_email", "resize"])
async def test_json_sent_as_something_else_is_refused_with_what_to_send(
    client: httpx.AsyncClient, type_name: str, headers: dict[str, str]
) -> None:
    """A web page may send these types to any address without asking first; `curl -d` sends the last."""
    answer = await client.post(f"/v1/jobs/{type_name}", content=b"{}", headers=headers)
    assert faulty_fields(answer) == ["body"]
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("suffix", ["; charset=utf-8", ""])
async def test_json_may_name_its_charset(client: httpx.AsyncClient, suffix: str) -> None:
    headers = {"Content-Type": f"application/json{suffix}"}
    source = b'{"source_url": "https://e.example/a.jpg", "sizes": [{"width": 10}]}'
    for type_name, body in (("welcome_email", b'{"to": "ada@example.com", "name": "Ada"}'), ("resize", source)):
        assert (await client.post(f"/v1/jobs/{type_name}", content=body, headers=headers)).status_code == 202


@pytest.mark.parametrize("retry", [Delays([5, 300]), Delays([0.25, 3]), Exponential(), Exponential(base_s=0.7)])
@pytest.mark.parametrize("due_ms", [1_795_215_012_000, 1_795_215_012_007, 253_402_300_799_000])
@pytest.mark.parametrize("max_tries", [1, 10])
def test_the_quick_answer_to_a_new_job_is_the_view_that_every_other_answer_shows(
    retry: RetryPolicy, due_ms: int, max_tries: int
) -> None:
    catalog = Catalog([replace(webhook, retry=retry, max_tries=max_tries)])
    job = JobSnapshot(
        id="1",
        type="webhook",
        queue="default",
        status="deferred",
        attempt=0,
        args={
            "url": "https://receiver.example/",
            "event": "tick",
            "data": {"ä": [1, None, '"args":{} ~id-of-the-job~']},
        },
        enqueued_at_ms=1_795_215_011_043,
        run_at_ms=due_ms,
    )
    quick = new_job_json(job, catalog["webhook"], durability="fsync-always")
    shown = AcceptedJobView(**dict(job_view(job, catalog)), durability="fsync-always")
    assert quick.decode() == shown.model_dump_json()
    usual = Usual(catalog["webhook"], "default", "deferred", "fsync-always", "")
    times = {"enqueued_at_ms": job.enqueued_at_ms, "due_at_ms": due_ms}
    assert usual_job_json(usual, "1", job.args, **times) == quick


async def test_a_full_queue_is_said_to_be_full_and_leaves_nothing(
    open_client: OpenClient, settings: Settings, redis: ArqRedis
) -> None:
    upload = forms.form(forms.part("args", b'{"sizes": [{"width": 10}]}'), forms.part("file", b"II*\0 the picture"))
    async with open_client(settings.model_copy(update={"queue_limit": 2})) as client:
        for _ in range(2):
            assert (await client.post("/v1/jobs/webhook", json=EVENT)).status_code == 202
            assert (await client.post("/v1/jobs/resize", content=upload, headers=forms.HEADERS)).status_code == 202
        kept, stored = await redis.dbsize(), stored_files(settings.data_dir)
        for answer in (
            await client.post("/v1/jobs/webhook", json=EVENT),
            await client.post("/v1/jobs/webhook", params={"delay": "1h"}, json=EVENT),
            await client.post("/v1/jobs/webhook/batch", json=[EVENT]),
            await client.post("/v1/jobs/resize", content=upload, headers=forms.HEADERS),
        ):
            details = problem_of(answer, 503, "queue-full")
            assert int(answer.headers["retry-after"]) > 0 and "QUEUE_LIMIT" in details["detail"]
        # a wait would not help
        assert faulty_fields(await client.post("/v1/jobs/webhook/batch", json=[EVENT] * 3)) == ["body"]
    assert (await redis.dbsize(), stored_files(settings.data_dir)) == (kept, stored)
