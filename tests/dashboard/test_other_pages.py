"""Dead jobs, queues, workers, schedules and job types: read and used as a browser without scripts does it."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from arq.connections import ArqRedis
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from errand import Context, job
from errand.dashboard import schema_form
from errand.dashboard.forms import Form
from errand.dashboard.pages.schedules import FIELDS
from errand.dashboard.pages.workers import partly_known
from errand.http.requests.schedule_body import ScheduleBody
from errand.http.requests.waits import MAX_WAIT_S
from errand.monitor.queues import WorkerState
from errand.queue.queue import Queue
from errand.schedules.ticker import Ticker
from errand.wire import keys
from jobs.webhook import webhook
from jobs.welcome_email import welcome_email
from settings import Settings
from tests.conftest import RunWorker
from tests.dashboard.page_seen import OWN_PAGE, SeenPage, foreign_tags, pressed, seen
from tests.http.answers_seen import LETTER
from tests.http.test_mounted import calling, own_app
from tests.ports import free_port
from tests.waiting import eventually

HOSTILE = "<img src=x onerror=fire()>\u202e"
PATHS = (
    "",
    "/jobs",
    "/dead-jobs",
    "/queues",
    "/workers",
    "/schedules",
    "/schedules/new",
    "/job-types",
    "/webhook-endpoints",
    "/mail",
    "/mail/templates/welcome",
    "/audit",
)


async def die(client: httpx.AsyncClient, run_worker: RunWorker, *, event: str = "user.created") -> str:
    """The id of a webhook that nobody takes."""
    args = {"url": f"http://127.0.0.1:{free_port()}/", "event": event, "data": HOSTILE}
    async with run_worker([webhook]):
        job = (await client.post("/v1/jobs/webhook?max_tries=1", json=args)).json()
        ended = (await client.get(f"/v1/jobs/{job['id']}?wait=30")).json()
    assert ended["status"] == "failed"
    return str(job["id"])


async def test_dead_jobs_are_grouped_and_replayed_after_a_look(
    client: httpx.AsyncClient, run_worker: RunWorker
) -> None:
    job_id = await die(client, run_worker)
    groups = await seen(client, "/dashboard/dead-jobs")
    assert "webhook in webhooks" in groups.text and groups.links[job_id].endswith(job_id)
    assert "1 job of the type webhook failed for good" in (await seen(client, "/dashboard")).text
    assert foreign_tags(groups) == []
    look = groups.form("Replay…")
    preview = await seen(client, look.action, params=look.fields)
    assert "1 job would be put again" in preview.text
    assert (await client.get(f"/v1/jobs/{job_id}")).json()["status"] == "failed"
    bad = await pressed(client, preview, "Replay", per_second="0")
    assert bad.status_code == 422 and "per_second" in bad.text
    done = SeenPage(await pressed(client, preview, "Replay", per_second="5"))
    assert "1 job is put again" in done.text
    assert (await client.get(f"/v1/jobs/{job_id}")).json()["status"] == "queued"
    assert "No job has failed for good" in (await seen(client, "/dashboard/dead-jobs")).text


async def test_queues_are_paused_and_resumed(client: httpx.AsyncClient) -> None:
    page = await seen(client, "/dashboard/queues")
    (pause,) = [form for form in page.forms if form.action == "/dashboard/queues/cpu/pause"]
    assert (await client.post(pause.action, headers=OWN_PAGE)).headers["location"] == "/dashboard/queues"
    paused = await seen(client, "/dashboard/queues")
    assert "paused" in paused.text
    assert (await pressed(client, paused, "Resume")).status_code == 303
    assert not any(queue["paused"] for queue in (await client.get("/v1/queues")).json())


async def test_workers_say_what_they_are(client: httpx.AsyncClient, run_worker: RunWorker) -> None:
    assert "No worker has reported" in (await seen(client, "/dashboard/workers")).text

    async def reported() -> bool:
        return "of 100 slots" in (await seen(client, "/dashboard/workers")).text

    async with run_worker([webhook]):
        await eventually(reported)


class Nothing(BaseModel):
    """No args."""


@job()
async def patient(ctx: Context, args: Nothing) -> None:
    await asyncio.Event().wait()


async def test_workers_say_what_they_run(client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker) -> None:
    put = await Queue(redis, ended_ttl_s=60).enqueue("patient", {})

    async def runs() -> bool:
        pages = [await seen(client, path) for path in ("/dashboard", "/dashboard/workers")]
        return all(page.links.get(put.job_id) == f"/dashboard/jobs/{put.job_id}" for page in pages)

    async with run_worker([patient]):
        await eventually(runs)
        await client.post(f"/v1/jobs/{put.job_id}/cancel")


def test_types_that_only_some_workers_know_are_named() -> None:
    old = WorkerState("a", 1, 0, types={"resize"})
    new, silent = WorkerState("b", 2, 0, types={"resize", "report"}), WorkerState("c", 3, 0)
    assert partly_known([old, new, silent]) == {"report": [new]}


async def test_a_schedule_is_made_changed_paused_triggered_and_deleted(client: httpx.AsyncClient) -> None:
    blank = await seen(client, "/dashboard/schedules/new")
    fields = {"id": "hello", "type": "welcome_email", "cron": "30 9 * * MON-FRI", "timezone": "Europe/Berlin"}
    wrong = SeenPage(await pressed(client, blank, "Make", **{**fields, "cron": "x", "args": "{"}))
    assert wrong.answer.status_code == 422 and "not valid JSON" in wrong.text
    made = await pressed(client, blank, "Make", **fields, args=json.dumps(LETTER))
    assert made.headers["location"] == "/dashboard/schedules/hello"
    page = await seen(client, "/dashboard/schedules/hello")
    assert "At 09:30 on Monday through Friday, Europe/Berlin" in page.text and "09:30:00" in page.text
    changed = {**fields, "cron": "0 8 * * *", "args": json.dumps(LETTER), "misfire": "skip"}
    assert (await pressed(client, page, "Change", **changed)).status_code == 303
    assert (await pressed(client, page, "Pause")).headers["location"] == "/dashboard/schedules/hello"
    listed = await seen(client, "/dashboard/schedules")
    assert "paused" in listed.text and "At 08:00 every day" in listed.text
    assert (await pressed(client, listed, "Resume")).headers["location"] == "/dashboard/schedules"
    job = await seen(client, (await pressed(client, page, "Trigger now")).headers["location"])
    assert "queued" in job.title
    assert (await pressed(client, page, "Delete")).headers["location"] == "/dashboard/schedules"
    assert "There is no schedule" in (await seen(client, "/dashboard/schedules")).text


async def test_the_form_of_a_schedule_has_all_of_it_and_a_new_one_replaces_none(client: httpx.AsyncClient) -> None:
    assert {*FIELDS, "args"} == set(ScheduleBody.model_fields)
    kept = {"type": "welcome_email", "args": {**LETTER, "data": {"x": "y" * 20_000}}, "cron": "0 3 * * *"}
    await client.put("/v1/schedules/daily", json={**kept, "enforce": True})
    page = await seen(client, "/dashboard/schedules/daily")
    assert '<option value="true" selected>is not put' in page.answer.text and "y" * 20_000 in page.answer.text
    fields = {"type": "welcome_email", "cron": "0 4 * * *", "args": json.dumps(LETTER)}
    blank = await seen(client, "/dashboard/schedules/new")
    refused = SeenPage(await pressed(client, blank, "Make", **fields, id="daily"))
    assert refused.answer.status_code == 422 and "another schedule has it" in refused.text
    assert (await pressed(client, refused, "Make", **fields, id="other", enforce="true")).status_code == 303
    schedules = (await client.get("/v1/schedules")).json()["schedules"]
    assert [(each["id"], each["cron"], each["enforce"]) for each in schedules] == [
        ("daily", "0 3 * * *", True),
        ("other", "0 4 * * *", True),
    ]


async def test_schedules_say_how_their_last_job_ended(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    daily = {"type": "welcome_email", "args": LETTER, "cron": "0 3 * * *", "misfire": "run_once"}
    await client.put("/v1/schedules/daily", json=daily)
    await redis.zadd(keys.SCHEDULES, {"daily": 1})
    await Ticker(redis, {"welcome_email": welcome_email}).tick()
    (job,) = (await client.get("/v1/jobs")).json()["jobs"]
    for path in ("/dashboard/schedules", "/dashboard/schedules/daily"):
        assert "• queued" in (await seen(client, path)).text
    async with run_worker([welcome_email]):
        await client.get(f"/v1/jobs/{job['id']}?wait={MAX_WAIT_S}")
    for path in ("/dashboard/schedules", "/dashboard/schedules/daily"):
        assert "✓ succeeded" in (await seen(client, path)).text


async def test_a_job_is_put_by_a_form_of_its_types_schema(client: httpx.AsyncClient) -> None:
    page = await seen(client, "/dashboard/job-types/welcome_email")
    wrong = SeenPage(await pressed(client, page, "Put", **{"args.to": "nobody", "args.name": "Ada", "args.data": "{"}))
    assert wrong.answer.status_code == 422 and "data: is not valid JSON" in wrong.text
    assert wrong.form("Put").fields["args.name"] == "Ada"
    args = {"args.to": "ada@example.com", "args.name": "Ada", "args.data": '{"plan": 1}', "delay": "1h"}
    put = await seen(client, (await pressed(client, page, "Put", **args)).headers["location"])
    assert "deferred" in put.title and '"plan": 1' in put.text
    again = await seen(client, put.links["Run again with other args"])
    assert again.form("Put").fields["args.to"] == "ada@example.com"
    (data,) = [attributes for tag, attributes in again.tags if attributes.get("id") == "args.data"]
    assert data["name"] == "args.data" and '"plan": 1' in again.text
    assert (await client.get("/dashboard/job-types/none")).status_code == 404


async def test_the_form_of_a_job_that_is_run_again_holds_its_args_as_they_are(client: httpx.AsyncClient) -> None:
    name = "Ada \U0001f469\u200d\U0001f4bb"
    job = (await client.post("/v1/jobs/welcome_email?delay=1h", json={**LETTER, "name": name})).json()
    page = await seen(client, f"/dashboard/job-types/welcome_email?like={job['id']}")
    again = (await pressed(client, page, "Put", delay="1h")).headers["location"].partition("?")[0]
    assert (await client.get(f"{again}/json")).json()["args"] == job["args"]


class Note(BaseModel):
    text: str
    more: str = ""


def test_a_form_keeps_line_breaks_and_says_which_args_it_cannot_hold() -> None:
    schema = Note.model_json_schema()
    text, more = schema_form.fields_of(schema, {"text": "one\n\ntwo\n", "more": "x" * 20_001})
    assert (text.lines, text.value, more.left_out, more.value) == (4, "one\n\ntwo\n", True, "")
    pairs = [("args.text", text.value.replace("\n", "\r\n")), ("left_out", "more")]
    assert schema_form.args_in(Form([*pairs, ("args.more", " y ")]), schema) == {"text": text.value, "more": "y"}
    with pytest.raises(RequestValidationError, match="cannot hold"):
        schema_form.args_in(Form([*pairs, ("args.more", "")]), schema)
    assert [field.left_out for field in schema_form.fields_of(schema, {"text": "a\rb"})] == [True, False]


def test_a_form_that_is_to_be_corrected_shows_no_password() -> None:
    schema = {"properties": {"name": {"type": "string"}, "token": {"type": "string", "format": "password"}}}
    name, token = schema_form.shown_in(Form([("args.name", "Ada"), ("args.token", "hunter2")]), schema)
    assert (name.value, token.value, token.input_type) == ("Ada", "", "password")


async def test_what_answers_a_form_is_not_read_again(client: httpx.AsyncClient) -> None:
    look = await seen(client, "/dashboard/dead-jobs/replay?type=welcome_email")
    done = SeenPage(await client.post("/dashboard/dead-jobs/replay", data={"type": "welcome_email"}, headers=OWN_PAGE))
    assert ["live" in [tag[1].get("id") for tag in page.tags] for page in (look, done)] == [True, False]


async def test_behind_an_apps_own_dependency_and_prefix_every_link_leads_on(
    redis: ArqRedis, settings: Settings
) -> None:
    async with calling(own_app(settings)) as client:
        assert (await client.get("/admin/queue/dashboard", headers={"x-admin": "no"})).status_code == 401
        location = (await client.post("/signup")).headers["location"]
        job_id = location.rpartition("/")[2]
        for path in (*PATHS, f"/jobs/{job_id}", "/job-types/resize"):
            page = await seen(client, f"/admin/queue/dashboard{path}")
            links = [attributes.get("href") or attributes.get("action") for _, attributes in page.tags]
            assert all(link.startswith(("/admin/queue/dashboard", "#")) for link in links if link), path
            assert len(page.answer.content) < 100_000
        done = await client.post(f"/admin/queue/dashboard/jobs/{job_id}/cancel", headers=OWN_PAGE)
        assert done.headers["location"] == f"/admin/queue/dashboard/jobs/{job_id}?done=cancelled"
        foreign = {"sec-fetch-site": "cross-site"}
        assert (await client.post(f"/admin/queue/dashboard/jobs/{job_id}/retry", headers=foreign)).status_code == 403
