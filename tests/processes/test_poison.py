"""A job that kills its worker is given up, and no other job is lost by it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes.conftest import ROOT, House

JOBS = """
import asyncio
import os
import signal
from pydantic import BaseModel
from errand import Context, job

class Nothing(BaseModel): ...

@job(max_tries=10)
async def poison(ctx: Context, args: Nothing) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@job(max_tries=10)
async def innocent(ctx: Context, args: Nothing) -> int:
    await asyncio.sleep(0.2)
    return ctx.crashes
"""


@pytest.fixture
def house(new_house: Callable[..., House], tmp_path: Path) -> House:
    (tmp_path / "poison_jobs.py").write_text(JOBS)
    environment = {"JOB_PACKAGES": "poison_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}", "LEASE_S": "1"}
    return new_house(environment=environment)


@contextmanager
def supervised(house: House) -> Iterator[list[int]]:
    """A worker that is started again whenever it dies, as a supervisor does; yields its exit codes."""
    ended, codes = threading.Event(), []

    def supervise() -> None:
        while not ended.is_set():
            worker = house.start("jobs")
            while not ended.is_set():
                try:
                    codes.append(worker.wait(0.1))
                    break
                except subprocess.TimeoutExpired:
                    continue

    supervisor = threading.Thread(target=supervise)
    supervisor.start()
    try:
        yield codes
    finally:
        ended.set()
        supervisor.join()


def test_a_job_that_kills_its_worker_is_dead_after_three_and_the_others_are_done(house: House) -> None:
    house.api()
    innocent = house.post("/v1/jobs/innocent/batch", json=[{}] * 10)["ids"]
    poison = house.post("/v1/jobs/poison", json={})
    innocent += house.post("/v1/jobs/innocent/batch", json=[{}] * 10)["ids"]
    with supervised(house) as codes:
        dead = house.ended(poison)
        ends = [house.ended({"id": job_id}) for job_id in innocent]
    assert (dead["status"], dead["error"]["type"]) == ("failed", "Crashed")
    assert [attempt["outcome"] for attempt in dead["attempts"]] == ["lost"] * 3
    assert codes == [-9] * 3
    assert {job["status"] for job in ends} == {"succeeded"}
    assert max(job["result"] for job in ends) <= 2, "the last chance was run without the poison"
