"""`/v1/schedules`: make, look, change, pause, trigger; and what is refused, in words."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from arq.connections import ArqRedis

from errand.job.catalog import discover
from errand.job.schedule import Schedule
from errand.schedules import store as schedules
from errand.schedules.store import Schedules
from errand.schedules.ticker import Ticker
from errand.wire import keys
from tests.http.answers_seen import LETTER, faulty_fields, problem_of

DAILY = {
    "type": "welcome_email",
    "args": LETTER,
    "cron": "30 9 * * MON-FRI",
    "timezone": "Europe/Berlin",
    "misfire": "run_once",
}
PLACE = "/v1/schedules/letters"


async def made(client: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await client.put(PLACE, json={**DAILY, **changes})
    assert answer.status_code in (200, 201), answer.text
    view: dict[str, Any] = answer.json()
    return view


async def code_defines(redis: ArqRedis, schedule_id: str = "letters", type_name: str = "welcome_email") -> None:
    """As a worker would that knows such a type."""
    await Schedules(redis).put(schedule_id, type_name, Schedule("0 9 * * *", args=LETTER), source="code")


async def test_a_schedule_is_made_under_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/schedules", json=DAILY)
    assert answer.status_code == 201
    schedule = answer.json()
    assert answer.headers["location"] == f"/v1/schedules/{schedule['id']}" == schedule["links"]["self"]
    assert {name: schedule[name] for name in DAILY} == DAILY
    assert (schedule["queue"], schedule["grace_s"], schedule["jitter_s"]) == (None, 60, 0)
    assert (schedule["source"], schedule["paused"], schedule["last_fire"], schedule["problem"]) == (
        "http",
        False,
        None,
        None,
    )
    assert (await client.get(answer.headers["location"])).json() == schedule


async def test_the_next_five_times_are_shown_in_utc_and_as_the_zones_clocks_show_them(
    client: httpx.AsyncClient,
) -> None:
    times = (await made(client))["next_fires"]
    assert len(times) == 5
    for time in times:
        utc, local = datetime.fromisoformat(time["utc"]), datetime.fromisoformat(time["local"])
        assert time["utc"].endswith("Z") and utc == local > datetime.now(UTC)
        assert local.utcoffset() == local.astimezone(ZoneInfo("Europe/Berlin")).utcoffset()
        assert (local.hour, local.minute) == (9, 30) and local.weekday() < 5
    assert all(first["utc"] < second["utc"] for first, second in pairwise(times))


async def test_to_put_one_makes_it_and_to_put_it_again_changes_it(client: httpx.AsyncClient) -> None:
    answer = await client.put(PLACE, json=DAILY)
    assert (answer.status_code, answer.headers["location"]) == (201, PLACE)
    again = await client.put(PLACE, json=DAILY)
    assert (again.status_code, again.json()) == (200, answer.json())
    changed = await made(client, cron="0 12 * * *", jitter_s="5m", grace_s=0.5, queue="cpu")
    assert (changed["cron"], changed["jitter_s"], changed["grace_s"], changed["queue"]) == (
        "0 12 * * *",
        300,
        0.5,
        "cpu",
    )
    assert changed["created_at"] == answer.json()["created_at"] < changed["updated_at"]


async def test_one_that_was_deleted_is_unknown(client: httpx.AsyncClient) -> None:
    await made(client)
    deleted = await client.delete(PLACE)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method, place in [
        ("GET", PLACE),
        ("DELETE", PLACE),
        *[("POST", f"{PLACE}/{verb}") for verb in ("pause", "resume", "trigger")],
    ]:
        details = problem_of(await client.request(method, place), 404, "unknown-schedule")
        assert "'letters'" in details["detail"]


async def test_a_paused_one_shows_no_times_until_it_is_resumed(client: httpx.AsyncClient) -> None:
    before = await made(client)
    paused = (await client.post(before["links"]["pause"])).json()
    assert (paused["paused"], paused["next_fires"]) == (True, [])
    resumed = (await client.post(paused["links"]["resume"])).json()
    assert resumed == before


async def test_a_trigger_puts_a_job_now_and_leaves_the_times_alone(client: httpx.AsyncClient) -> None:
    schedule = await made(client, queue="cpu")
    for _ in range(2):
        answer = await client.post(schedule["links"]["trigger"])
        job = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
        assert (job["type"], job["args"], job["status"], job["queue"]) == ("welcome_email", LETTER, "queued", "cpu")
        assert (await client.get(answer.headers["location"])).json()["queue"] == "cpu"
        await client.post(f"{PLACE}/pause")
    assert (await client.post(f"{PLACE}/resume")).json() == schedule


async def test_its_last_fire_names_the_job(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    schedule = await made(client)
    due = datetime.fromisoformat(schedule["next_fires"][0]["utc"])
    ticker = Ticker(redis, discover(["jobs"]))
    await ticker.tick(now_ms=int(due.timestamp() * 1000) + 250)
    fired = (await client.get(PLACE)).json()
    fire = fired["last_fire"]
    assert datetime.fromisoformat(fire["at"]) == due
    assert datetime.fromisoformat(fire["fired_at"]) == due + timedelta(milliseconds=250)
    assert fire["job_id"] == f"letters-{due:%Y%m%dT%H%M%SZ}" and fired["links"]["last_job"].endswith(fire["job_id"])
    assert (await client.get(fired["links"]["last_job"])).json()["args"] == LETTER
    assert fired["next_fires"][:4] == schedule["next_fires"][1:]
    an_hour_late = datetime.fromisoformat(fired["next_fires"][0]["utc"]) + timedelta(hours=1)
    await ticker.tick(now_ms=int(an_hour_late.timestamp() * 1000))
    assert (await client.get(PLACE)).json()["last_missed_at"] == fired["next_fires"][0]["utc"]


async def test_pages_go_through_all(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await client.put(f"/v1/schedules/s{number}", json=DAILY)
    place, seen, pages = "/v1/schedules?limit=2", [], 0
    while place:
        page = (await client.get(place)).json()
        seen += [schedule["id"] for schedule in page["schedules"]]
        place, pages = page["next"], pages + 1
    assert (seen, pages) == ([f"s{number}" for number in range(5)], 3)
    assert (await client.get("/v1/schedules")).json()["next"] is None
    assert faulty_fields(await client.get("/v1/schedules?limit=101")) == ["query.limit"]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"type": "fax"}, ["body.type"]),
        ({"args": {"to": "nowhere", "name": "Ada"}}, ["body.args.to"]),
        ({"args": {}}, ["body.args.to", "body.args.name"]),
        ({"args": []}, ["body.args"]),
        ({"cron": "every day"}, ["body.cron"]),
        ({"cron": "0 0 31 2 *"}, ["body.cron"]),
        ({"timezone": "Berlin"}, ["body.timezone"]),
        ({"misfire": "twice"}, ["body.misfire"]),
        ({"grace_s": -1}, ["body.grace_s"]),
        ({"jitter_s": "2d"}, ["body.jitter_s"]),
        ({"jitter_s": "soon"}, ["body.jitter_s"]),
        ({"queue": "fast"}, ["body.queue"]),
        ({"corn": "* * * * *"}, ["body.corn"]),
        ({"cron": "x", "timezone": "x", "type": None}, ["body.type", "body.cron", "body.timezone"]),
        ({"cron": "x", "args": {"to": "nowhere", "name": "Ada"}}, ["body.cron", "body.args.to"]),
        ({"args": {"to": "ada@example.com", "name": "x" * 100_000}}, ["body.args.name"]),
    ],
)
async def test_everything_that_does_not_fit_is_named_at_once(
    client: httpx.AsyncClient, redis: ArqRedis, changes: dict[str, Any], fields: list[str]
) -> None:
    for answer in (
        await client.put(PLACE, json={**DAILY, **changes}),
        await client.post("/v1/schedules", json={**DAILY, **changes}),
    ):
        assert faulty_fields(answer) == fields
    assert await redis.keys("errand:schedule*") == []


async def test_what_is_wrong_is_said_with_what_would_be_right(client: httpx.AsyncClient) -> None:
    answer = await client.put(PLACE, json={**DAILY, "cron": "99 * * * *", "timezone": "Europe/Berln", "type": "fax"})
    said = {error["field"]: error["message"] for error in problem_of(answer, 422, "invalid-request")["errors"]}
    assert "its minute is wrong" in said["body.cron"] and "30 9 * * MON-FRI" in said["body.cron"]
    assert "did you mean Europe/Berlin?" in said["body.timezone"]
    assert "the types are: resize, webhook, welcome_email" in said["body.type"]


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '{"cron": NaN}'])
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, body: str) -> None:
    answer = await client.put(PLACE, content=body, headers={"Content-Type": "application/json"})
    assert faulty_fields(answer)[0].startswith("body")


@pytest.mark.parametrize("schedule_id", ["a.b", "x" * 65, "a%20b", "ä", "a:b"])
async def test_an_id_that_no_job_id_could_hold_is_refused(client: httpx.AsyncClient, schedule_id: str) -> None:
    assert faulty_fields(await client.put(f"/v1/schedules/{schedule_id}", json=DAILY)) == ["path.id"]


async def test_args_over_the_limit_of_a_schedule_are_refused(client: httpx.AsyncClient) -> None:
    event = {"url": "https://receiver.example/", "event": "tick", "data": "x" * 70_000}
    answer = await client.put(PLACE, json={"type": "webhook", "args": event, "cron": "* * * * *"})
    assert faulty_fields(answer) == ["body.args"]


async def test_one_too_many_is_refused(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 1)
    await made(client)
    details = problem_of(await client.post("/v1/schedules", json=DAILY), 409, "too-many-schedules")
    assert "Delete one" in details["detail"]


async def test_one_defined_in_code_is_only_paused_resumed_and_triggered(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    await code_defines(redis)
    assert (await client.get(PLACE)).json()["source"] == "code"
    assert "in code" in problem_of(await client.put(PLACE, json=DAILY), 409, "defined-in-code")["detail"]
    problem_of(await client.delete(PLACE), 409, "defined-in-code")
    assert (await client.post(f"{PLACE}/pause")).json()["paused"] is True
    assert (await client.post(f"{PLACE}/resume")).json()["paused"] is False
    assert (await client.post(f"{PLACE}/trigger")).status_code == 202


async def test_one_whose_type_the_code_has_no_more_can_be_deleted_but_not_triggered(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    await code_defines(redis, type_name="fax")
    details = problem_of(await client.post(f"{PLACE}/trigger"), 409, "unfit-schedule")
    assert "'fax'" in details["detail"]
    assert (await client.delete(PLACE)).status_code == 204


@pytest.mark.parametrize("change", [{"args": {"to": "nowhere"}}, {"queue": "gone"}])
async def test_one_that_does_not_fit_the_code_any_more_is_not_triggered(
    client: httpx.AsyncClient, redis: ArqRedis, change: dict[str, Any]
) -> None:
    await made(client)
    definition = json.loads(await redis.hget(keys.schedule("letters"), "definition"))  # type: ignore[misc]
    await redis.hset(keys.schedule("letters"), "definition", json.dumps({**definition, **change}))  # type: ignore[misc]
    problem_of(await client.post(f"{PLACE}/trigger"), 409, "unfit-schedule")
    assert await redis.zcard("arq:queue:mail") == 0


async def test_every_job_type_has_its_example_in_the_document_and_each_is_taken(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path, method in (("/v1/schedules", "post"), ("/v1/schedules/{id}", "put")):
        body = document["paths"][path][method]["requestBody"]["content"]["application/json"]
        assert body["schema"]["$ref"].rpartition("/")[2] in document["components"]["schemas"]
        assert set(body["examples"]) == {"resize", "webhook", "welcome_email"}
        for example in body["examples"].values():
            assert (await client.post("/v1/schedules", json=example["value"])).status_code == 201
