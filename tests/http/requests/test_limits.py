"""`expires_in` and `max_tries`: taken by every route that puts jobs, shown, and refused where they cannot be meant."""

from __future__ import annotations

from datetime import datetime

import httpx
import pytest
from arq.connections import ArqRedis

from jobs.welcome_email import welcome_email
from settings import Settings
from tests.http.answers_seen import LETTER, faulty_fields, problem_of, stored_files
from tests.http.requests import forms
from tests.http.routes.test_jobs import put_letter
from tests.waiting import NEVER_S

LIMITS = {"expires_in": "10m", "max_tries": "3"}
PICTURE = forms.form(forms.part("args", b'{"sizes": [{"width": 10}]}'), forms.part("file", b"II*\0 the picture"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("how", ["single", "batch", "upload"])
async def test_every_route_that_puts_jobs_takes_them(client: httpx.AsyncClient, how: str) -> None:
    match how:
        case "single":
            put = (await client.post("/v1/jobs/welcome_email", params=LIMITS, json=LETTER)).json()
        case "upload":
            answer = await client.post("/v1/jobs/resize", params=LIMITS, content=PICTURE, headers=forms.HEADERS)
            put = answer.json()
        case "batch":
            answer = await client.post("/v1/jobs/welcome_email/batch", params=LIMITS, json=[LETTER, LETTER])
            put = (await client.get(f"/v1/jobs/{answer.json()['ids'][1]}")).json()
    seen = (await client.get(put["links"]["self"])).json()
    for job in (put, seen):
        assert (job["max_tries"], len(job["planned_attempts"])) == (3, 3)
        # the one is by Redis' clock, the other by the service's
        assert 600 <= (at(job["expires_at"]) - at(job["enqueued_at"])).total_seconds() < 600 + NEVER_S
    assert put["expires_at"] == seen["expires_at"]


async def test_a_list_shows_them(client: httpx.AsyncClient) -> None:
    put = (await client.post("/v1/jobs/welcome_email", params=LIMITS, json=LETTER)).json()
    await client.post(f"/v1/jobs/{put['id']}/cancel")
    waiting = (await client.post("/v1/jobs/welcome_email", params=LIMITS, json=LETTER)).json()
    for job, listed in zip((waiting, put), (await client.get("/v1/jobs")).json()["jobs"], strict=True):
        assert [listed[name] for name in ("id", "max_tries", "expires_at")] == [job["id"], 3, job["expires_at"]]


async def test_without_them_the_type_decides_and_nothing_expires(client: httpx.AsyncClient) -> None:
    put = (await client.post("/v1/jobs/welcome_email", json=LETTER)).json()
    assert (put["max_tries"], put["expires_at"]) == (welcome_email.max_tries, None)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"max_tries": "0"}, "query.max_tries"),
        ({"max_tries": "101"}, "query.max_tries"),
        ({"max_tries": "many"}, "query.max_tries"),
        ({"expires_in": "0"}, "query.expires_in"),
        ({"expires_in": "367d"}, "query.expires_in"),
        ({"expires_in": "soon"}, "query.expires_in"),
        ({"expires_in": "10m", "delay": "10m"}, "query.expires_in"),
        ({"expires_in": "10m", "run_at": "2999-01-01T00:00:00Z"}, "query.expires_in"),
    ],
)
async def test_what_cannot_be_meant_is_refused_and_nothing_is_kept(
    client: httpx.AsyncClient, redis: ArqRedis, settings: Settings, asked: dict[str, str], field: str
) -> None:
    for answer in (
        await client.post("/v1/jobs/welcome_email", params=asked, json=LETTER),
        await client.post("/v1/jobs/welcome_email/batch", params=asked, json=[LETTER]),
        await client.post("/v1/jobs/resize", params=asked, content=PICTURE, headers=forms.HEADERS),
    ):
        assert faulty_fields(answer) == [field]
    assert (await redis.dbsize(), stored_files(settings.data_dir)) == (0, [])


async def test_they_are_a_part_of_the_request_that_an_idempotency_key_names(client: httpx.AsyncClient) -> None:
    keyed = {"Idempotency-Key": "one"}
    first = await client.post("/v1/jobs/welcome_email", params=LIMITS, json=LETTER, headers=keyed)
    again = await client.post("/v1/jobs/welcome_email", params=LIMITS, json=LETTER, headers=keyed)
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    other = await client.post("/v1/jobs/welcome_email", params={"max_tries": "4"}, json=LETTER, headers=keyed)
    problem_of(other, 422, "idempotency-key-reused")


async def test_a_job_is_not_moved_to_where_it_would_have_expired(client: httpx.AsyncClient) -> None:
    place = await put_letter(client, **LIMITS)
    for when in ({"delay": "11m"}, {"run_at": "2999-01-01T00:00:00Z"}):
        refused = await client.post(f"{place}/reschedule", params=when)
        assert "expires at" in problem_of(refused, 409, "expires-before")["detail"]
    assert (await client.post(f"{place}/reschedule", params={"delay": "9m"})).status_code == 200


async def test_a_job_past_its_time_says_so_while_no_worker_has_come_to_it(client: httpx.AsyncClient) -> None:
    place = await put_letter(client, expires_in="1ms")
    waiting = (await client.get(place)).json()["waiting"]
    assert waiting["code"] in ("expired", "no_worker")
    assert (await client.get(place, params={"wait": "0.1"})).json()["waiting"]["code"] == "expired"
