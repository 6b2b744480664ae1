"""A worker that a signal stops: its jobs end, or go on elsewhere, and no job loses a try."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import ROOT, House
from tests.waiting import eventually_sync

JOBS = """
import asyncio
from pydantic import BaseModel
from errand import Context, job

class Lasting(BaseModel):
    seconds: float

@job(max_tries=1)
async def lasting(ctx: Context, args: Lasting) -> int:
    await asyncio.sleep(args.seconds)
    return ctx.attempt
"""


@pytest.fixture
def house(new_house: Callable[..., House], tmp_path: Path) -> House:
    (tmp_path / "lasting_jobs.py").write_text(JOBS)
    return new_house(environment={"JOB_PACKAGES": "lasting_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}"})


def running(house: House, job: dict[str, Any]) -> bool:
    return bool(house.get(job["id"])["status"] == "in_progress")


def test_a_job_that_outlasts_the_drain_goes_on_elsewhere_at_once_with_its_try(house: House) -> None:
    house.api()
    stops = house.worker(DRAIN_S="0.5")
    job = house.post("/v1/jobs/lasting", json={"seconds": 2})
    eventually_sync(lambda: running(house, job))
    house.worker()
    stops.terminate()
    assert stops.wait(10) == 0
    done = house.ended(job)
    assert (done["status"], done["result"]) == ("succeeded", 1)
    first, second = done["attempts"]
    assert [first["outcome"], second["outcome"]] == ["handed_back", "succeeded"]
    assert seconds_between(first["ended_at"], second["started_at"]) < 1.5


def test_a_second_signal_ends_the_drain(house: House) -> None:
    house.api()
    stops = house.worker(DRAIN_S="60")
    job = house.post("/v1/jobs/lasting", json={"seconds": 60})
    eventually_sync(lambda: running(house, job))
    stops.terminate()
    eventually_sync(lambda: "draining" in house.log("jobs").read_text())
    assert stops.poll() is None
    asked_s = time.monotonic()
    stops.terminate()
    assert stops.wait(10) == 0
    assert time.monotonic() - asked_s < 5
    left = house.get(job["id"])
    assert (left["status"], left["attempt"]) == ("queued", 1)
    assert left["attempts"][0]["outcome"] == "handed_back"


def test_workers_replaced_one_by_one_under_load_fail_nothing_and_delay_little(house: House) -> None:
    house.api()
    workers = [house.worker(DRAIN_S="0.3") for _ in range(2)]
    ids: list[str] = []
    for number in range(60):
        seconds = 0.8 if number % 5 == 0 else 0.02
        ids.append(house.post("/v1/jobs/lasting", json={"seconds": seconds})["id"])
        if number % 15 == 14:
            workers.append(house.start("jobs", DRAIN_S="0.3"))
            workers.pop(0).terminate()
        time.sleep(0.05)  # a steady load
    ends = [house.ended({"id": job_id}) for job_id in ids]
    assert {job["status"] for job in ends} == {"succeeded"}
    outcomes = [attempt["outcome"] for job in ends for attempt in job["attempts"]]
    assert set(outcomes) <= {"succeeded", "handed_back"}
    assert "handed_back" in outcomes, "otherwise no drain was too short"
    waits_s = [seconds_between(attempt["due_at"], attempt["started_at"]) for job in ends for attempt in job["attempts"]]
    assert max(waits_s) < 3


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
