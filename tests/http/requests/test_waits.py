"""`Prefer: wait=N`: the answer to a request is the job at its end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.http.requests import waits
from errand.http.requests.waits import preferred_s
from errand.monitor.job_snapshot import goes_on
from errand.queue.queue import Queue
from errand.wire import keys
from jobs.webhook import webhook
from settings import Settings
from tests.conftest import RunWorker
from tests.http.answers_seen import LETTER, problem_of
from tests.http.routes.watching import serving
from tests.peers import HttpReceiver
from tests.pictures import image
from tests.waiting import NEVER_S, eventually


def args_for(receiver: HttpReceiver) -> dict[str, Any]:
    return {"url": receiver.url, "event": "user.created", "data": 1}


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ([], None),
        (["wait=10"], 10),
        (["Wait = 7"], 7),
        (['wait="8"'], 8),
        (["respond-async, wait=9; x=y"], 9),
        (["respond-async", "handling=lenient, wait=5"], 5),
        (["wait=1, wait=2"], 1),
        (["wait=600"], 60),
        (["wait=0"], 0),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=soon"], None),
        (["await=5"], None),
        (["wait=٣"], None),
        (["=;,,"], None),
    ],
)
def test_a_preference_is_read_as_the_rfc_says(headers: list[str], wait_s: int | None) -> None:
    raw = [(b"accept", b"*/*"), *((b"prefer", value.encode("utf-8")) for value in headers)]
    assert preferred_s(raw) == wait_s


async def test_a_job_is_answered_at_its_end(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "FIRST_LOOK_S", NEVER_S)  # it hears of the end, and does not look for it
    async with run_worker([webhook]):
        done = await client.post("/v1/jobs/webhook", json=args_for(receiver), headers={"Prefer": "wait=30"})
    assert (done.status_code, done.json()["status"]) == (200, "succeeded")
    assert done.headers["preference-applied"] == "wait=30"
    assert done.headers["location"] == f"/v1/jobs/{done.json()['id']}"
    assert done.json() == (await client.get(done.headers["location"])).json()


async def test_a_job_that_does_not_end_in_time_is_accepted_as_ever(client: httpx.AsyncClient) -> None:
    started_s = time.monotonic()
    put = await client.post("/v1/jobs/welcome_email", json=LETTER, headers={"Prefer": "wait=1"})
    assert time.monotonic() - started_s >= 1
    assert (put.status_code, put.json()["status"]) == (202, "queued")
    assert (put.headers["preference-applied"], put.json()["durability"]) == ("wait=1", "memory")


async def test_a_wait_that_runs_out_answers_the_job_as_it_is_by_then(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers.append(503)
    async with run_worker([webhook]):
        put = await client.post("/v1/jobs/webhook", json=args_for(receiver), headers={"Prefer": "wait=1"})
    job = put.json()
    assert (put.status_code, job["status"], job["attempt"]) == (202, "deferred", 1)
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["retry"]
    assert job["durability"] == "memory" and put.headers["location"] == job["links"]["self"]


async def test_a_wait_for_the_job_that_holds_the_key_changes_neither_status_nor_reason(
    client: httpx.AsyncClient,
) -> None:
    params = {"unique_key": "user-7", "delay": "1h"}
    await client.post("/v1/jobs/welcome_email", params=params, json=LETTER)
    existing = await client.post("/v1/jobs/welcome_email", params=params, json=LETTER, headers={"Prefer": "wait=1"})
    assert (existing.status_code, existing.headers["existing-job"]) == (200, "true")
    assert (existing.json()["status"], existing.json()["waiting"]["code"]) == ("deferred", "delayed")


async def test_who_prefers_nothing_does_not_wait(client: httpx.AsyncClient) -> None:
    for headers in ({}, {"Prefer": "respond-async"}):
        put = await client.post("/v1/jobs/welcome_email", json=LETTER, headers=headers)
        assert put.status_code == 202 and "preference-applied" not in put.headers


async def test_an_upload_can_be_waited_for(client: httpx.AsyncClient) -> None:
    put = await client.post(
        "/v1/jobs/resize",
        files={"file": ("photo.jpg", image(8, 8))},
        data={"args": '{"sizes": [{"width": 4}]}'},
        headers={"Prefer": "wait=0"},
    )
    assert (put.status_code, put.headers["preference-applied"]) == (202, "wait=0")


async def test_a_request_sent_again_waits_for_the_job_of_the_first(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    headers = {"Idempotency-Key": "one"}
    first = await client.post("/v1/jobs/webhook", json=args_for(receiver), headers=headers)
    async with run_worker([webhook]):
        again = await client.post("/v1/jobs/webhook", json=args_for(receiver), headers={**headers, "Prefer": "wait=30"})
    assert (again.status_code, again.json()["status"], again.json()["id"]) == (200, "succeeded", first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert len(receiver.requests) == 1


async def test_a_job_that_is_forgotten_meanwhile_was_accepted(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    waiting = asyncio.create_task(client.post("/v1/jobs/welcome_email", json=LETTER, headers={"Prefer": "wait=20"}))

    async def put() -> str:
        ids = await redis.zrange("arq:queue:mail", 0, -1)
        return ids[0].decode() if ids else ""

    job_id = await eventually(put)
    await redis.delete(keys.body(job_id))
    assert (await waiting).status_code == 202


async def test_a_look_can_wait_by_preference_as_well(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    place = (await client.post("/v1/jobs/webhook", json=args_for(receiver))).headers["location"]
    waiting = asyncio.create_task(client.get(place, headers={"Prefer": "wait=30"}))
    async with run_worker([webhook]):
        done = await waiting
    assert (done.json()["status"], done.headers["preference-applied"]) == ("succeeded", "wait=30")
    # what the query says goes first
    said = await client.get(place, params={"wait": 1}, headers={"Prefer": "wait=30"})
    assert "preference-applied" not in said.headers
    problem_of(await client.get("/v1/jobs/nope", headers={"Prefer": "wait=30"}), 404, "unknown-job")


async def test_an_end_between_the_look_and_the_wait_is_not_missed(
    client: httpx.AsyncClient, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look is held up until the job has ended and that was heard: only what was heard can end the wait soon."""
    place = (await client.post("/v1/jobs/welcome_email", json=LETTER)).headers["location"]
    looked, look = asyncio.Event(), goes_on

    async def slow_look(*arguments: Any) -> bool:
        has_not_ended = await look(*arguments)
        if not looked.is_set():
            looked.set()
            await eventually(lambda: redis.exists(keys.result(place.rpartition("/")[2])))
            await redis.ping()
        return has_not_ended

    monkeypatch.setattr(waits, "goes_on", slow_look)
    monkeypatch.setattr(waits, "FIRST_LOOK_S", NEVER_S)
    waiting = asyncio.create_task(client.get(place, params={"wait": 60}))
    await looked.wait()
    await Queue(redis, name="mail", ended_ttl_s=60).cancel(place.rpartition("/")[2])
    ended, _ = await asyncio.wait({waiting}, timeout=NEVER_S / 2)
    assert ended and waiting.result().json()["status"] == "cancelled"


async def test_a_stop_of_the_service_answers_who_waits_instead_of_cutting_him_off(
    redis: ArqRedis, redis_url: str, settings: Settings
) -> None:
    async with serving(settings, redis_url) as service:
        params = {"delay": "1h"}
        place = (await service.client.post("/v1/jobs/welcome_email", params=params, json=LETTER)).headers["location"]
        waiting = [
            asyncio.create_task(service.client.get(place, params={"wait": 60})),
            asyncio.create_task(
                service.client.post("/v1/jobs/welcome_email", params=params, json=LETTER, headers={"Prefer": "wait=60"})
            ),
        ]

        async def all_wait() -> bool:
            return len(service.shared.events._waiters) == len(waiting)

        await eventually(all_wait)
        service.server.should_exit = True
        ended, _ = await asyncio.wait(waiting, timeout=NEVER_S / 2)
        assert len(ended) == 2, "answered before their time"
        looked, put = (one.result() for one in waiting)
        assert (looked.status_code, put.status_code) == (200, 202)
        assert looked.json()["status"] == put.json()["status"] == "deferred"
