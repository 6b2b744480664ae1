"""Several worker or API processes under one parent: replaced if one dies, stopped together, apart in all else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import ROOT, House
from tests.waiting import eventually_sync

JOBS = """
import asyncio
import os
from pathlib import Path
from pydantic import BaseModel
from errand import Context, job

if Path(os.environ["BROKEN"]).exists():
    os._exit(7)

class Held(BaseModel):
    until: Path

@job(max_tries=3)
async def held(ctx: Context, args: Held) -> int:
    while not args.until.exists():
        await asyncio.sleep(0.01)
    return os.getpid()
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """While this file exists, a process that imports the job types ends at once."""
    return tmp_path / "broken"


@pytest.fixture
def house(new_house: Callable[..., House], tmp_path: Path, broken: Path) -> House:
    (tmp_path / "held_jobs.py").write_text(JOBS)
    path = f"{ROOT}:{tmp_path}"
    environment = {"JOB_PACKAGES": "held_jobs", "PYTHONPATH": path, "LEASE_S": "2", "BROKEN": str(broken)}
    return new_house(environment=environment)


def children_of(pid: int) -> set[int]:
    """The processes that a parent has spawned, less what Python itself starts beside them."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child) for child in listed if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()}


def runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def running(house: House) -> dict[int, set[str]]:
    """The ids of the jobs that each worker process runs now, by its pid."""
    seen: list[dict[str, Any]] = house.http.get(f"{house.url}/v1/workers").json()
    return {worker["pid"]: {job["id"] for job in worker["running"]} for worker in seen}


def test_a_killed_worker_process_is_replaced_and_all_drain_together(house: House, tmp_path: Path) -> None:
    house.environment["LEASE_S"] = "10"  # the other process keeps its leases, however busy the machine
    go_on = tmp_path / "go-on"
    house.api()
    parent = house.start("errand", "worker", "--processes", "2", "--packages", "held_jobs")
    both = eventually_sync(lambda: seen if len(seen := running(house)) == 2 else None)
    assert set(both) == children_of(parent.pid)

    jobs = [house.post("/v1/jobs/held", json={"until": str(go_on)}) for _ in range(40)]
    ids = {job["id"] for job in jobs}
    shared = eventually_sync(lambda: seen if set[str]().union(*(seen := running(house)).values()) == ids else None)
    victim, survivor = sorted(shared, key=lambda pid: len(shared[pid]), reverse=True)
    os.kill(victim, signal.SIGKILL)
    replaced = eventually_sync(lambda: seen if len(seen := running(house)) == 2 and victim not in seen else None)
    assert set(replaced) == children_of(parent.pid)
    eventually_sync(lambda: set[str]().union(*running(house).values()) == ids)
    assert "exit_code=-9" in house.log("errand").read_text()

    parent.terminate()
    eventually_sync(lambda: house.log("errand").read_text().count("draining") == 2)
    assert parent.poll() is None
    go_on.touch()
    assert parent.wait(60) == 0
    ends = [house.ended(job) for job in jobs]
    assert {job["status"] for job in ends} == {"succeeded"}
    outcomes = {job["id"]: [attempt["outcome"] for attempt in job["attempts"]] for job in ends}
    assert {tuple(outcomes[job_id]) for job_id in shared[victim]} <= {("lost", "succeeded")}
    assert {tuple(outcomes[job_id]) for job_id in shared[survivor]} <= {("succeeded",)}


def test_a_process_that_keeps_dying_is_started_ever_more_rarely_and_said_so(house: House, broken: Path) -> None:
    broken.touch()
    parent = house.start("errand", "worker", "--packages", "held_jobs", WORKER_PROCESSES="2")
    said = house.log("errand")
    eventually_sync(lambda: "in_a_row=3" in said.read_text())
    pauses = [line.rpartition("pause_s=")[2] for line in said.read_text().splitlines() if "exit_code=7" in line]
    assert pauses[:3] == ["0.0", "1.0", "2.0"]
    broken.unlink()
    # the others wait for the first
    eventually_sync(lambda: said.read_text().count("worker ready") == 2)
    parent.terminate()
    assert parent.wait(60) == 0


def test_what_no_process_can_start_with_is_said_once(house: House) -> None:
    parent = house.start("jobs", WORKER_PROCESSES="2", SMTP_URL="smtp://localhost:25?starttls=maybe")
    assert parent.wait(60) == 1
    assert house.log("jobs").read_text().count("settings: SMTP_URL") == 1


def test_api_processes_share_a_port_read_their_keys_again_and_end_with_their_parent(
    house: House, tmp_path: Path
) -> None:
    env_file = tmp_path / "keys.env"
    old, new = "old-key-0123456789", "new-key-0123456789"

    def statuses(key: str) -> set[int]:
        asked = (
            house.http.get(f"{house.url}/v1/queues", headers={"Authorization": f"Bearer {key}"}) for _ in range(12)
        )
        return {answer.status_code for answer in asked}

    env_file.write_text(f"API_KEYS={old}\nAPI_PROCESSES=2\nREFUSAL_LIMIT=1000/s\n")
    parent = house.start("service", ENV_FILE=str(env_file))
    said = house.log("service")
    both = eventually_sync(lambda: seen if len(seen := children_of(parent.pid)) == 2 else None)
    eventually_sync(lambda: said.read_text().count("Application startup complete") == 2)
    assert statuses(old) == {200}

    env_file.write_text(f"API_KEYS={new}\n")
    parent.send_signal(signal.SIGHUP)
    eventually_sync(lambda: said.read_text().count("keys read again") == 2)
    assert (statuses(new), statuses(old)) == ({200}, {401})
    os.kill(min(both), signal.SIGKILL)
    eventually_sync(lambda: said.read_text().count("Application startup complete") == 3)
    assert (statuses(new), statuses(old)) == ({200}, {401}), "its successor has the new keys too"

    left = children_of(parent.pid)
    assert len(left) == 2
    parent.kill()
    eventually_sync(lambda: not any(map(runs, left)))
    assert not house.answers("/healthz")
