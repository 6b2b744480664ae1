"""A worker that a signal stops: its jobs end, or go on elsewhere, and no job loses a try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import ROOT, House
from tests.programs.start import Program
from tests.waiting import eventually_sync

JOBS = """
import asyncio
import os
from pathlib import Path
from pydantic import BaseModel
from errand import Context, job

class Held(BaseModel):
    until: Path

@job(max_tries=1)
async def held(ctx: Context, args: Held) -> int:
    while not args.until.exists():
        await asyncio.sleep(0.01)
    return ctx.attempt
"""
HOUR_S = "3600"
"""Of a lease or a drain: what waits for its end does not come to one here."""


@pytest.fixture
def house(new_house: Callable[..., House], tmp_path: Path) -> House:
    (tmp_path / "held_jobs.py").write_text(JOBS)
    environment = {"JOB_PACKAGES": "held_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}", "LEASE_S": HOUR_S}
    return new_house(environment=environment)


def running(house: House, job: dict[str, Any]) -> bool:
    return bool(house.get(job["id"])["status"] == "in_progress")


def test_a_second_signal_ends_the_drain(house: House, tmp_path: Path) -> None:
    house.api()
    stops = house.worker(DRAIN_S=HOUR_S)
    job = house.post("/v1/jobs/held", json={"until": str(tmp_path / "never")})
    eventually_sync(lambda: running(house, job))
    stops.terminate()
    eventually_sync(lambda: "draining" in house.log("jobs").read_text())
    assert stops.poll() is None
    stops.terminate()
    assert stops.wait(60) == 0
    left = house.get(job["id"])
    assert (left["status"], left["attempt"]) == ("queued", 1)
    assert left["attempts"][0]["outcome"] == "handed_back"


def test_workers_replaced_one_by_one_under_load_fail_nothing_and_hand_jobs_on_at_once(
    house: House, tmp_path: Path
) -> None:
    """With leases of an hour nothing would end that waited for one."""
    until = tmp_path / "go-on"
    house.api()
    workers = [house.worker(DRAIN_S="0.3") for _ in range(2)]
    short, long = [], []
    for _ in range(2):
        long.append(house.post("/v1/jobs/held", json={"until": str(until)}))
        short += [house.post("/v1/jobs/held", json={"until": str(tmp_path)}) for _ in range(20)]
        stops = eventually_sync(lambda: who_runs(house, long[-1], workers))
        workers.append(house.start("jobs", DRAIN_S="0.3"))
        stops.terminate()
        assert stops.wait(60) == 0
        short += [house.post("/v1/jobs/held", json={"until": str(tmp_path)}) for _ in range(20)]
    until.touch()
    ends = [house.ended(job) for job in (*short, *long)]
    assert {(job["status"], job["result"]) for job in ends} == {("succeeded", 1)}
    outcomes = [[attempt["outcome"] for attempt in job["attempts"]] for job in ends]
    assert {outcome for each in outcomes for outcome in each[:-1]} == {"handed_back"}
    assert {each[-1] for each in outcomes} == {"succeeded"}


def who_runs(house: House, job: dict[str, Any], workers: list[Program]) -> Program | None:
    """None until it has said so."""
    seen = house.http.get(f"{house.url}/v1/workers").json()
    pids = [one["pid"] for one in seen if job["id"] in [running["id"] for running in one["running"]]]
    return next((worker for worker in workers if worker.pid in pids), None)
