"""Types that are debounced or throttled, over HTTP and as a route adds their jobs: one job stands for its equals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import Context, job
from errand.integration.add_task import put_together
from errand.integration.lifespan import opened
from errand.job.catalog import discover
from errand.wire import codec, keys
from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.http.answers_seen import faulty_fields

QUEUE = keys.queue("default")


class Save(BaseModel):
    document: int
    text: str = ""


@job(debounce="1h", debounce_key="{document}")
async def index(ctx: Context, args: Save) -> None: ...


@job(throttle="1h")
async def alert(ctx: Context, args: Save) -> None: ...


@pytest.fixture
def own_settings(tmp_path: Path, redis_url: str) -> Settings:
    return make_settings(tmp_path, redis_url=redis_url, job_packages=__name__)


@pytest.fixture
async def client(open_client: OpenClient, own_settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(own_settings) as opened_client:
        yield opened_client


async def texts(redis: ArqRedis) -> list[object]:
    """What each job that waits was given."""
    waiting = [each.decode() for each in await redis.zrange(QUEUE, 0, -1)]
    return [codec.job_in(await redis.get(keys.body(each)) or b"")[0].kwargs.get("text") for each in waiting]


async def test_the_answer_is_the_job_that_stands_for_its_equals(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    first = await client.post("/v1/jobs/index", json={"document": 1, "text": "a"})
    again = await client.post("/v1/jobs/index", json={"document": 1, "text": "ab"})
    assert (first.status_code, first.json()["status"]) == (202, "deferred")
    assert (again.status_code, again.headers["existing-job"], again.json()["id"]) == (200, "true", first.json()["id"])
    assert again.json()["args"] == {"document": 1, "text": "ab"}
    alerts = [await client.post("/v1/jobs/alert", json={"document": each}) for each in (1, 1, 2)]
    assert [answer.status_code for answer in alerts] == [202, 200, 202]
    assert await redis.zcard(QUEUE) == 3


async def test_many_at_once_are_refused(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    answer = await client.post("/v1/jobs/index/batch", json=[{"document": 1}])
    assert (answer.status_code, faulty_fields(answer)) == (422, ["body"])
    assert await redis.exists(QUEUE) == 0


async def test_job_types_say_so(client: httpx.AsyncClient) -> None:
    (known,) = [each for each in (await client.get("/v1/job-types")).json() if each["name"] == "index"]
    assert known["repeats"] == {"kind": "debounce", "period_s": 3600, "key": "{document}"}


async def test_jobs_that_a_route_adds_are_treated_alike(own_settings: Settings, redis: ArqRedis) -> None:
    async with opened(own_settings, discover(own_settings.job_packages)) as connection:
        for text in ("a", "ab"):
            async with put_together(connection) as jobs:
                jobs.add_task(index, document=1, text=text)
                jobs.add_task(alert, document=1)
    assert await texts(redis) == [None, "ab"]
