"""A job that kills its worker is given up, and no other job is lost by it, nor by workers that are paused."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import ROOT, House
from tests.waiting import eventually_sync

JOBS = """
import asyncio
import os
import signal
from pathlib import Path
from pydantic import BaseModel
from errand import Context, job
from errand.job.retry_policy import Delays

class Nothing(BaseModel): ...

@job(max_tries=10, retry=Delays([0]))
async def poison(ctx: Context, args: Nothing) -> None:
    os.kill(os.getpid(), signal.SIGKILL)

@job(max_tries=10)
async def innocent(ctx: Context, args: Nothing) -> int:
    await asyncio.sleep(0.2)
    await ctx.progress(0.5, "half")
    return ctx.crashes

@job(max_tries=50)
async def patient(ctx: Context, args: Nothing) -> int:
    Path(f"{os.environ['GO_ON']}-{ctx.attempt}").write_text(str(os.getpid()))
    while not Path(os.environ["GO_ON"]).exists():
        await asyncio.sleep(0.01)
    return ctx.attempt
"""


@pytest.fixture
def house(new_house: Callable[..., House], tmp_path: Path) -> House:
    (tmp_path / "poison_jobs.py").write_text(JOBS)
    environment = {"JOB_PACKAGES": "poison_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}", "LEASE_S": "1"}
    environment["GO_ON"] = str(tmp_path / "go-on")
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


def test_a_job_that_kills_its_worker_takes_two_workers_along_and_then_only_its_own_process(house: House) -> None:
    house.api()
    innocent = house.post("/v1/jobs/innocent/batch", json=[{}] * 10)["ids"]
    poison = house.post("/v1/jobs/poison", json={})
    innocent += house.post("/v1/jobs/innocent/batch", json=[{}] * 10)["ids"]
    with supervised(house) as codes:
        dead = house.ended(poison)
        ends = [house.ended({"id": job_id}) for job_id in innocent]
    assert (dead["status"], dead["error"]["type"]) == ("failed", "Crashed")
    assert "exit code -9" in dead["error"]["message"]
    # on a busy machine a worker may lose a lease, and live on
    attempts = [attempt for attempt in dead["attempts"] if (attempt["error"] or {}).get("type") != "LeaseLost"]
    assert [attempt["outcome"] for attempt in attempts] == ["lost", "lost", "crashed", "crashed", "failed"]
    assert codes == [-9] * 2
    assert {(job["status"], job["result"]) for job in ends} == {("succeeded", 0)}
    assert {job["progress"]["fraction"] for job in ends} == {0.5}, "an isolated job's progress is seen, too"


def test_a_job_whose_workers_are_paused_past_their_leases_is_not_given_up(house: House, tmp_path: Path) -> None:
    house.api()
    workers = [house.worker(), house.worker()]
    job = house.post("/v1/jobs/patient", json={})
    for number in range(1, 6):
        owner = _owner_of(tmp_path, number)
        os.kill(owner, signal.SIGSTOP)
        _owner_of(tmp_path, number + 1)
        os.kill(owner, signal.SIGCONT)
        _wait_for_losses(house, job, ["LeaseLost"] * number)
    (tmp_path / "go-on").touch()
    done = house.ended(job)
    assert (done["status"], done["result"]) == ("succeeded", 6)
    assert [worker.poll() for worker in workers] == [None, None]


def test_a_job_whose_workers_are_killed_while_it_runs_isolated_is_not_given_up(house: House, tmp_path: Path) -> None:
    house.environment["MAX_CRASHES"] = "1"
    house.api()
    job = house.post("/v1/jobs/patient", json={})
    for number in range(1, 5):
        worker = house.start("jobs")
        isolated = _owner_of(tmp_path, number)
        assert (isolated == worker.pid) == (number < 3)
        worker.kill()
        worker.wait()
        eventually_sync(lambda pid=isolated: not Path(f"/proc/{pid}").exists())  # type: ignore[misc]
    house.start("jobs")
    (tmp_path / "go-on").touch()
    done = house.ended(job)
    assert [(attempt["outcome"], attempt["error"]["type"]) for attempt in done["attempts"][:-1]] == [
        ("lost", "WorkerLost")
    ] * 4
    assert (done["status"], done["result"]) == ("succeeded", 5)


def _owner_of(folder: Path, attempt: int) -> int:
    """The pid of the worker that runs this attempt, once one does."""
    file = folder / f"go-on-{attempt}"
    return int(eventually_sync(lambda: file.read_text() if file.exists() else ""))


def _wait_for_losses(house: House, job: dict[str, Any], errors: list[str]) -> None:
    def seen() -> bool:
        attempts = house.get(job["id"])["attempts"]
        return [one["error"]["type"] for one in attempts if one["outcome"] == "lost"] == errors

    eventually_sync(seen)
