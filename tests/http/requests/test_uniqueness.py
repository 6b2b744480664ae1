"""`unique_key`: what becomes of a job that would not be alone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.wire import keys
from settings import Settings
from tests.http.answers_seen import LETTER, faulty_fields, problem_of, stored_files
from tests.http.requests import forms
from tests.pictures import image

PATH = "/v1/jobs/welcome_email"


async def post(client: httpx.AsyncClient, **query: str) -> httpx.Response:
    return await client.post(PATH, json=LETTER, params={"unique_key": "user 7", **query})


async def state(client: httpx.AsyncClient, job: dict[str, Any]) -> str:
    return str((await client.get(job["links"]["self"])).json()["status"])


@pytest.mark.parametrize("query", [{}, {"on_conflict": "return"}])
async def test_the_job_that_holds_the_key_is_returned_and_said_to_be_so(
    client: httpx.AsyncClient, redis: ArqRedis, query: dict[str, str]
) -> None:
    first = await post(client, **query)
    assert first.status_code == 202 and "existing-job" not in first.headers
    second = await post(client, **query)
    assert (second.status_code, second.headers["existing-job"]) == (200, "true")
    assert second.headers["location"] == first.headers["location"]
    assert second.json() == (await client.get(first.headers["location"])).json()
    assert await redis.zcard("arq:queue:mail") == 1


async def test_a_rejected_job_is_told_which_one_holds_the_key(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    first = (await post(client)).json()
    details = problem_of(await post(client, on_conflict="reject"), 409, "not-unique")
    assert first["id"] in details["detail"] and "waits" in details["detail"]
    assert details["errors"] == [{"field": "query.unique_key", "message": f"is held by job {first['id']}"}]
    assert await redis.zcard("arq:queue:mail") == 1


async def test_a_waiting_job_is_replaced(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    first = (await post(client, delay="1h")).json()
    second = await post(client, delay="2h", on_conflict="replace")
    assert second.status_code == 202
    assert [await state(client, job) for job in (first, second.json())] == ["cancelled", "deferred"]
    assert await redis.zcard("arq:queue:mail") == 1


async def test_a_running_job_is_not_replaced(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    first = (await post(client)).json()
    await redis.set(keys.lease(first["id"]), "worker#1")
    details = problem_of(await post(client, on_conflict="replace"), 409, "not-unique")
    assert first["id"] in details["detail"] and "runs" in details["detail"]
    assert await redis.zcard("arq:queue:mail") == 1


async def test_the_key_is_free_when_the_job_has_ended(client: httpx.AsyncClient) -> None:
    first = (await post(client)).json()
    await client.post(first["links"]["cancel"])
    second = await post(client)
    assert (second.status_code, second.json()["id"] != first["id"]) == (202, True)


async def test_for_a_while_it_is_not(client: httpx.AsyncClient) -> None:
    first = (await post(client, unique_for="10m")).json()
    await client.post(first["links"]["cancel"])
    second = await post(client)
    assert (second.status_code, second.json()["id"], second.json()["status"]) == (200, first["id"], "cancelled")
    assert "has ended" in problem_of(await post(client, on_conflict="replace"), 409, "not-unique")["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"unique_key": ""}, "query.unique_key"),
        ({"unique_key": "x" * 201}, "query.unique_key"),
        ({"unique_key": "a\nb"}, "query.unique_key"),
        ({"unique_key": "u", "unique_for": "soon"}, "query.unique_for"),
        ({"unique_key": "u", "unique_for": "0"}, "query.unique_for"),
        ({"unique_key": "u", "on_conflict": "fight"}, "query.on_conflict"),
        ({"unique_for": "10m"}, "query.unique_for"),
        ({"on_conflict": "reject"}, "query.on_conflict"),
    ],
)
@pytest.mark.parametrize("path", [PATH, "/v1/jobs/resize"])
async def test_what_makes_no_sense_is_refused(
    client: httpx.AsyncClient, redis: ArqRedis, path: str, query: dict[str, str], field: str
) -> None:
    assert faulty_fields(await client.post(path, params=query, json=LETTER)) == [field]
    assert await redis.dbsize() == 0


async def test_a_batch_takes_no_unique_key(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    answer = await client.post(f"{PATH}/batch", params={"unique_key": "u"}, json=[LETTER])
    assert faulty_fields(answer) == ["query.unique_key"] and await redis.dbsize() == 0


@pytest.mark.parametrize(("on_conflict", "status"), [("return", 200), ("reject", 409)])
async def test_the_file_of_an_upload_that_was_not_put_is_forgotten(
    client: httpx.AsyncClient, settings: Settings, on_conflict: str, status: int
) -> None:
    body = forms.form(
        forms.part("args", b'{"sizes": [{"width": 10}]}'), forms.part("file", image(20, 10), filename="a.jpg")
    )
    query = {"unique_key": "u", "on_conflict": on_conflict}
    answers = [
        await client.post("/v1/jobs/resize", content=body, headers=forms.HEADERS, params=query) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, status]
    assert stored_files(settings.data_dir) == [answers[0].json()["args"]["file"]["key"]]
