"""Redis goes away under a running API and worker: requests are refused, no job is lost, work goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.answers.test_problems import NEED_REDIS
from tests.http.answers_seen import problem_of
from tests.patience import PATIENCE
from tests.processes.conftest import ROOT, House
from tests.redis_servers import RedisServer, sentinel_house
from tests.waiting import NEVER_S, eventually, eventually_sync

JOBS = """
import asyncio
import os
from pathlib import Path
from pydantic import BaseModel
from errand import Context, job

class Nothing(BaseModel): ...

@job()
async def held(ctx: Context, args: Nothing) -> int:
    while not Path(os.environ["GO_ON"]).exists():
        await asyncio.sleep(0.01)
    return ctx.attempt

@job()
async def quick(ctx: Context, args: Nothing) -> int:
    return ctx.attempt
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """What it took is there when it comes back: with `everysec`, what comes during a slow fsync is not written yet."""
    with RedisServer(tmp_path / "server", options=("appendonly yes", "appendfsync always")).running() as running:
        yield running


@pytest.fixture
def go_on(tmp_path: Path) -> Path:
    """The file that the jobs called `held` wait for."""
    return tmp_path / "go-on"


@pytest.fixture
def house_at(new_house: Callable[..., House], tmp_path: Path, go_on: Path) -> Callable[[str], House]:
    """Makes an installation on the Redis at that URL."""

    def make(redis_url: str) -> House:
        (tmp_path / "outage_jobs.py").write_text(JOBS)
        environment = {
            "REDIS_URL": redis_url,
            "JOB_PACKAGES": "outage_jobs",
            "PYTHONPATH": f"{ROOT}:{tmp_path}",
            "GO_ON": str(go_on),
            PATIENCE: "",
        }
        return new_house(environment=environment)

    return make


def test_an_outage_refuses_requests_and_loses_no_outcome(
    house_at: Callable[[str], House], server: RedisServer, go_on: Path
) -> None:
    house = house_at(server.url)
    api, worker = house.api(), house.worker()
    held = house.post("/v1/jobs/held", json={})
    due_meanwhile = house.post("/v1/jobs/quick", json={}, params={"delay": 1})
    eventually_sync(lambda: house.get(held["id"])["status"] == "in_progress")
    server.kill()
    for _ in range(2):
        asyncio.run(all_are_refused(house))
    go_on.touch()
    server.start()
    done = house.ended(held)
    assert (done["status"], done["result"], len(done["attempts"])) == ("succeeded", 1, 1)
    assert house.ended(due_meanwhile)["status"] == "succeeded"
    assert api.poll() is None and worker.poll() is None
    log = house.log("service").read_text()
    assert log.count("answered 503") == 1 and "Traceback" not in log + house.log("jobs").read_text()


async def all_are_refused(house: House, *, or_answered: bool = False) -> None:
    """Every route that needs Redis, all at once; `or_answered`: another server may have been found by then."""

    async def ask(method: str, path: str, content: dict[str, Any]) -> None:
        answer = await client.request(method, path, **content)
        if or_answered and answer.status_code < 500:
            return
        problem_of(answer, 503, "redis-unavailable")
        assert int(answer.headers["retry-after"]) > 0

    async with httpx.AsyncClient(base_url=house.url, timeout=NEVER_S, verify=False) as client:
        await asyncio.gather(*(ask(*request) for request in NEED_REDIS))


def test_a_redis_that_still_loads_its_data_is_waited_for(house_at: Callable[[str], House], tmp_path: Path) -> None:
    slow = ("appendonly yes", "appendfsync always", "key-load-delay 1500", "loading-process-events-interval-bytes 1024")
    with RedisServer(tmp_path / "server", options=slow).running() as server:
        house = house_at(server.url)
        api, worker = house.api(), house.worker()
        accepted = house.post("/v1/jobs/quick/batch", json=[{}] * 1000, params={"delay": "1h"})["ids"]
        server.kill()
        server.start()
        problem_of(house.http.get(f"{house.url}/v1/jobs/x"), 503, "redis-unavailable")
        job = eventually_sync(lambda: _accepted(house))
        assert house.ended(job)["status"] == "succeeded"
        assert {house.get(job_id)["status"] for job_id in accepted[::100]} == {"deferred"}
        assert api.poll() is None and worker.poll() is None


def _accepted(house: House) -> dict[str, Any] | None:
    answer = house.http.post(f"{house.url}/v1/jobs/quick", json={})
    assert answer.status_code in (202, 503), answer.text
    return answer.json() if answer.status_code == 202 else None


async def test_api_and_worker_follow_a_failover(house_at: Callable[[str], House], tmp_path: Path) -> None:
    async with sentinel_house(tmp_path) as sentinels:
        house = house_at(sentinels.url)
        api, worker = await asyncio.to_thread(house.api), await asyncio.to_thread(house.worker)
        await asyncio.to_thread(house.ended, await asyncio.to_thread(house.post, "/v1/jobs/quick", json={}))
        sentinels.master.kill()
        await all_are_refused(house, or_answered=True)

        async def accepted() -> dict[str, Any] | None:
            return await asyncio.to_thread(_accepted, house)

        async def succeeded() -> bool:
            answer = await asyncio.to_thread(house.http.get, f"{house.url}/v1/jobs/{job['id']}")
            assert answer.status_code in (200, 503), "a connection may still lead to the old master"
            return bool(answer.status_code == 200 and answer.json()["status"] == "succeeded")

        job = await eventually(accepted)
        await eventually(succeeded)
        assert api.poll() is None and worker.poll() is None


@pytest.mark.parametrize("program", ["service", "jobs", "errand api", "errand worker"])
def test_a_wrong_password_stops_the_start_with_one_line(
    house_at: Callable[[str], House], tmp_path: Path, program: str
) -> None:
    module, *command = program.split()
    with RedisServer(tmp_path / "server", options=("requirepass right",)).running() as server:
        house = house_at(server.url.replace("://", "://:wr0ng@"))
        assert house.start(module, *command).wait(60) == 1
        said = house.log(module).read_text()
    assert said.startswith("settings: REDIS_URL: Redis refuses the user or password: ") and said.count("\n") == 1
    assert "wr0ng" not in said
