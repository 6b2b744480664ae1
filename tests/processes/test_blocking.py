"""A job that blocks the event loop of its worker: said where, within its limit not run twice, past it timed out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.conftest import ROOT, House
from tests.waiting import eventually_sync

JOBS = """
import asyncio
import os
import time
from pathlib import Path
from pydantic import BaseModel
from errand import Context, job

class Until(BaseModel):
    file: str

def wait_for(file):
    while not Path(file).exists():
        time.sleep(0.05)

@job(max_tries=10)
async def within(ctx: Context, args: Until) -> int:
    wait_for(args.file)
    return ctx.attempt

@job(max_tries=1, timeout_s=1.5)
async def beyond(ctx: Context, args: Until) -> None:
    wait_for(args.file)

@job(max_tries=10)
async def beside(ctx: Context, args: Until) -> int:
    while not Path(args.file).exists():
        await asyncio.sleep(0.05)
    return ctx.attempt
"""


@pytest.fixture
def house(new_house: Callable[..., House], tmp_path: Path) -> House:
    (tmp_path / "blocking_jobs.py").write_text(JOBS)
    environment = {"JOB_PACKAGES": "blocking_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}", "LEASE_S": "1"}
    return new_house(environment=environment)


def test_a_blocked_worker_keeps_its_leases_up_to_each_jobs_limit_and_says_what_blocks(
    house: House, tmp_path: Path
) -> None:
    house.api()
    house.worker()
    go_on, never = str(tmp_path / "go-on"), str(tmp_path / "end")
    beside = house.post("/v1/jobs/beside", json={"file": go_on})
    eventually_sync(lambda: house.get(beside["id"])["status"] == "in_progress")
    within = house.post("/v1/jobs/within", json={"file": go_on})
    eventually_sync(lambda: "a job blocks the event loop" in house.log("jobs").read_text())
    house.start("jobs")  # it would take jobs whose leases have lapsed, and takes this one
    beyond = house.post("/v1/jobs/beyond", json={"file": never})
    late = house.ended(beyond)
    assert (late["status"], late["error"]["type"]) == ("failed", "TimeoutError")
    assert house.get(beside["id"])["attempt"] == house.get(within["id"])["attempt"] == 1
    seconds = _blocked_seconds(house)
    assert seconds["within"] > 0
    assert seconds["beyond"] > 0
    Path(go_on).touch()
    Path(never).touch()
    ends = [house.ended(job) for job in (within, beside)]
    assert [(job["status"], job["result"]) for job in ends] == [("succeeded", 1)] * 2
    for job in (late, ends[0]):
        (attempt,) = job["attempts"]
        assert attempt["blocked"]["seconds"] > 0
        assert attempt["blocked"]["at"].endswith("blocking_jobs.py:14 in wait_for")
    assert ends[1]["attempts"][0]["blocked"] is None


def _blocked_seconds(house: House) -> dict[str, float]:
    def seen() -> dict[str, float] | None:
        lines = house.http.get(f"{house.url}/metrics").text.splitlines()
        found: dict[str, float] = {}
        for line in lines:
            name, _, value = line.rpartition(" ")
            if name.startswith("errand_loop_blocked_seconds_total{"):
                found[name.split('type="')[1].split('"')[0]] = float(value)
        return found if len(found) == 2 else None

    return eventually_sync(seen)
