"""What v0.1.0 left in Redis is shown, run, replayed and recognised by this version."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from jobs.resize import resize
from jobs.webhook import webhook
from jobs.welcome_email import welcome_email
from settings import Settings
from tests.apps import forget_apps
from tests.conftest import RunWorker
from tests.waiting import eventually

OLD: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "v0.1.0.json").read_text())
JOBS: dict[str, dict[str, Any]] = OLD["jobs"]
NOW = dict.fromkeys(("waiting", "max_tries", "planned_attempts", "gives_up_at"))
"""Fields that say what will be: by the workers of the moment, and by the retry policy that the type has now."""
THEN = [replace(job_type, queue="default") for job_type in (webhook, welcome_email)]
"""The types in the queue in which v0.1.0 put their jobs; a worker knows every type, whatever its queue."""
LETTER = {"to": "ada@example.com", "name": "Ada"}


def less_of(shown: dict[str, Any]) -> list[dict[str, Any]]:
    """Its attempts without what v0.1.0 did not record."""
    assert all(attempt["blocked"] is None for attempt in shown["attempts"])
    return [{name: value for name, value in attempt.items() if name != "blocked"} for attempt in shown["attempts"]]


def as_bytes(value: str | dict[str, str]) -> bytes:
    return value.encode() if isinstance(value, str) else b64decode(value["base64"])


async def restore(redis: ArqRedis, key: str, kept: dict[str, Any]) -> None:
    """Writes one key as it was; what was to expire has as long to live as it had."""
    value = kept["value"]
    match kept["type"]:
        case "string":
            await redis.set(key, as_bytes(value))
        case "list":
            await redis.rpush(key, *map(as_bytes, value))  # type: ignore[misc]  # redis-py's types are of both clients
        case "set":
            await redis.sadd(key, *map(as_bytes, value))  # type: ignore[misc]
        case "hash":
            await redis.hset(key, mapping={as_bytes(name): as_bytes(item) for name, item in value})  # type: ignore[misc]
        case "zset":
            await redis.zadd(key, {as_bytes(item): score for item, score in value})
    if kept["pttl"] > 0:
        await redis.pexpire(key, max(kept["pttl"], 60_000))


@pytest.fixture
async def old(redis: ArqRedis, settings: Settings) -> ArqRedis:
    """A database and a storage as v0.1.0 left them, after the lease of its dead worker has ended."""
    for key, kept in OLD["keys"].items():
        await restore(redis, key, kept)
    for name, content in OLD["files"].items():
        path = settings.data_dir / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b64decode(content))
    return redis


@pytest.mark.parametrize("name", ["delivered", "greeted", "refused", "cancelled", "deferred", "unique", "resized"])
async def test_a_job_is_shown_as_it_was(old: ArqRedis, client: httpx.AsyncClient, name: str) -> None:
    shown = without_the_new((await client.get(f"/v1/jobs/{JOBS[name]['id']}")).json(), JOBS[name])
    assert {**shown, **NOW, "attempts": less_of(shown)} == {**JOBS[name], **NOW}


def without_the_new(shown: dict[str, Any], was: dict[str, Any]) -> dict[str, Any]:
    """The job without what v0.1.0 did not know."""
    since = {field: shown.pop(field) for field in shown.keys() - was.keys()}
    assert not any(since.values()), "it has no value, and no priority"
    shown["links"].pop("children", None)  # of a job that may have some
    return shown


async def test_dead_jobs_are_listed_as_they_were(old: ArqRedis, client: httpx.AsyncClient) -> None:
    shown, was = (await client.get("/v1/dead-jobs")).json(), OLD["lists"]["/v1/dead-jobs"]
    jobs = [without_the_new(*pair) for pair in zip(shown["jobs"], was["jobs"], strict=True)]
    assert {**shown, "jobs": jobs} == was


async def test_groups_of_dead_jobs_are_listed_as_they_were(old: ArqRedis, client: httpx.AsyncClient) -> None:
    shown, was = (await client.get("/v1/dead-jobs/groups")).json(), OLD["lists"]["/v1/dead-jobs/groups"]
    assert [group.pop("about") for group in shown["groups"]] == [None] * len(was["groups"])
    assert shown == {**was, "complete": True}


async def test_schedules_are_listed_as_they_were(old: ArqRedis, client: httpx.AsyncClient) -> None:
    (shown,) = (await client.get("/v1/schedules")).json()["schedules"]
    (was,) = OLD["lists"]["/v1/schedules"]["schedules"]
    assert {name: shown[name] for name in ("id", "type", "args", "cron", "timezone", "misfire")} == {
        name: was[name] for name in ("id", "type", "args", "cron", "timezone", "misfire")
    }


async def test_every_job_is_in_the_list(old: ArqRedis, client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/jobs", params={"limit": 100})).json()["jobs"]
    assert {job["id"] for job in listed} == {job["id"] for job in JOBS.values()}


async def test_what_waited_is_run(old: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker) -> None:
    async with run_worker(THEN):
        for name in ("queued", "keyed", "lost"):
            job = (await client.get(f"/v1/jobs/{JOBS[name]['id']}", params={"wait": 20})).json()
            assert job["status"] == "succeeded", job
        lost = (await client.get(f"/v1/jobs/{JOBS['lost']['id']}")).json()
        assert [attempt["outcome"] for attempt in lost["attempts"]] == ["lost", "succeeded"]

        async def is_tried_again() -> bool:
            retried = (await client.get(f"/v1/jobs/{JOBS['retried']['id']}")).json()
            return len(retried["attempts"]) >= 2

        await eventually(is_tried_again)
    retried = (await client.get(f"/v1/jobs/{JOBS['retried']['id']}")).json()
    assert less_of(retried)[0] == JOBS["retried"]["attempts"][0]


async def test_an_upload_that_waited_is_run_and_old_outputs_are_served(
    old: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker
) -> None:
    async with run_worker([resize]):
        job = (await client.get(f"/v1/jobs/{JOBS['resizing']['id']}", params={"wait": 30})).json()
    (output,) = job["result"]["outputs"]
    assert (job["status"], output["width"], output["format"]) == ("succeeded", 16, "png")
    (known,) = JOBS["resized"]["result"]["outputs"]
    served = await client.get(known["url"])
    assert (served.status_code, len(served.content)) == (200, known["bytes"])


async def test_counters_go_on_from_where_they_were(old: ArqRedis, client: httpx.AsyncClient) -> None:
    shown = set((await client.get("/metrics")).text.splitlines())
    assert len(OLD["counters"]) > 10
    assert [line for line in OLD["counters"] if line not in shown] == []


async def test_a_dead_job_is_replayed_under_its_id(
    old: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker
) -> None:
    answer = await client.post("/v1/dead-jobs/replay", json={"type": "webhook"})
    assert answer.json()["ids"] == [JOBS["refused"]["id"]], answer.text
    assert (await client.get(f"/v1/jobs/{JOBS['refused']['id']}")).json()["status"] in ("queued", "deferred")
    async with run_worker(THEN):

        async def is_tried() -> bool:
            job = (await client.get(f"/v1/jobs/{JOBS['refused']['id']}")).json()
            return len(job["attempts"]) > len(JOBS["refused"]["attempts"])

        await eventually(is_tried)


@pytest.fixture
def _letters_in_the_default_queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where v0.1.0 put them: a key counts within its queue. Kept apps have been made with the type as it is."""
    monkeypatch.setattr("jobs.welcome_email.welcome_email", replace(welcome_email, queue="default"))
    forget_apps()
    yield
    forget_apps()


@pytest.mark.usefixtures("_letters_in_the_default_queue")
async def test_an_idempotency_key_is_recognised(old: ArqRedis, client: httpx.AsyncClient) -> None:
    again = await client.post("/v1/jobs/welcome_email", json=LETTER, headers={"Idempotency-Key": "k-1"})
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert again.json()["id"] == JOBS["keyed"]["id"]
    other = await client.post(
        "/v1/jobs/welcome_email", json={**LETTER, "name": "Bo"}, headers={"Idempotency-Key": "k-1"}
    )
    assert other.status_code == 422


@pytest.mark.usefixtures("_letters_in_the_default_queue")
async def test_a_unique_key_is_held(old: ArqRedis, client: httpx.AsyncClient) -> None:
    other = await client.post("/v1/jobs/welcome_email", params={"unique_key": "ada"}, json=LETTER)
    assert (other.status_code, other.json()["id"]) == (200, JOBS["unique"]["id"])
