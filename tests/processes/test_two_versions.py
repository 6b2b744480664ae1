"""A rolling deploy: v0.1.0 and this version side by side on one Redis, under load, forward and back."""

from __future__ import annotations

import subprocess
import tarfile
import threading
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.processes.conftest import ROOT, House
from tests.servers import serving
from tests.waiting import eventually, eventually_sync

OLD = "fb19d660ac92354b087dca9a67892555ad175077"
"""The commit that v0.1.0 names; by its id, as a clone may have no tags."""

JOBS = """
import asyncio
import os
from pathlib import Path
from pydantic import BaseModel
try:
    from errand import Context, job
    VERSION = "new"
except ImportError:
    from jobs import Context, job
    VERSION = "old"

class Task(BaseModel):
    until: Path | None = None

@job(max_tries=1, timeout_s=600)
async def noted(ctx: Context, args: Task) -> str:
    while args.until is not None and not args.until.exists():
        await asyncio.sleep(0.01)
    with open(os.environ["EFFECTS"], "a") as effects:
        effects.write(f"{ctx.job_id} {VERSION}\\n")
    return VERSION
"""


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of v0.1.0."""
    archive = subprocess.run(
        ["git", "archive", OLD, "jobs", "service", "settings.py"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"this checkout has no history with v0.1.0: {archive.stderr.decode().strip()}")
    tree = tmp_path_factory.mktemp("v0.1.0")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(tree, filter="data")
    return tree


class Load:
    """Puts jobs through an API without a pause, until it is told to end."""

    def __init__(self, house: House) -> None:
        self.accepted: list[str] = []
        self.unknown = 0
        """Requests that a busy machine answered 503: Redis was late, and it is not known whether the job was put."""
        self._house = house
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._put)
        self._thread.start()

    def _put(self) -> None:
        while not self._ends.is_set():
            answer = self._house.http.post(f"{self._house.url}/v1/jobs/noted", json={})
            if answer.status_code == 503:
                self.unknown += 1
            else:
                assert answer.status_code == 202, answer.text
                self.accepted.append(answer.json()["id"])

    def end(self) -> None:
        self._ends.set()
        self._thread.join()


@pytest.fixture
def houses(new_house: Callable[..., House], old_tree: Path, tmp_path: Path) -> tuple[House, House]:
    """The old and the new installation, with the same job types and settings."""
    (tmp_path / "noted_jobs.py").write_text(JOBS)
    common = {"JOB_PACKAGES": "noted_jobs", "EFFECTS": str(tmp_path / "effects"), "DRAIN_S": "0.5", "LEASE_S": "3600"}
    roots = (old_tree, ROOT)
    old, new = (new_house(root=root, environment={**common, "PYTHONPATH": f"{root}:{tmp_path}"}) for root in roots)
    return old, new


async def test_each_runs_what_the_other_has_put_and_hands_its_jobs_to_the_other(
    houses: tuple[House, House], tmp_path: Path
) -> None:
    old, new = houses
    go_on = tmp_path / "go-on"
    async with serving() as server:
        for house in houses:
            house.environment["REDIS_URL"] = server.url
            house.start("service")
        for house in houses:
            await eventually(lambda house=house: as_async(house.answers("/healthz")))  # type: ignore[misc]
        held = [house.post("/v1/jobs/noted", json={"until": str(go_on)}) for house in houses for _ in range(10)]
        workers = {"old": old.start("jobs.worker")}
        loads = [Load(house) for house in houses]
        ran_by(tmp_path, "old", loads)

        # forward: the new worker comes, the old one goes and hands on what it holds
        workers["new"] = new.start("jobs")
        ran_by(tmp_path, "new", loads)
        workers["old"].terminate()
        assert workers["old"].wait(60) == 0
        eventually_sync(lambda: all(old.get(job["id"])["status"] == "in_progress" for job in held))
        # and back
        workers["old"] = old.start("jobs.worker")
        workers["new"].terminate()
        assert workers["new"].wait(60) == 0
        go_on.touch()
        for load in loads:
            load.end()

        ids = [*(job["id"] for job in held), *(job_id for load in loads for job_id in load.accepted)]
        ends = {job_id: (old.ended({"id": job_id}), new.ended({"id": job_id})) for job_id in ids[:40]}
        assert {(one["status"], other["status"]) for one, other in ends.values()} == {("succeeded", "succeeded")}
        eventually_sync(lambda: len(effects(tmp_path)) >= len(ids))
        runs = Counter(job_id for job_id, _ in effects(tmp_path))
        assert set(runs.values()) == {1}
        assert set(ids) <= runs.keys() and len(runs) <= len(ids) + sum(load.unknown for load in loads)
        for job in held:
            outcomes = [attempt["outcome"] for attempt in ends[job["id"]][1]["attempts"]]
            assert outcomes[-1] == "succeeded" and set(outcomes[:-1]) == {"handed_back"}
        for house in houses:
            for process in house.processes:
                process.kill()
                process.wait()


def effects(folder: Path) -> list[tuple[str, str]]:
    """Each run of a job, in their order: its id, and the version that ran it."""
    file = folder / "effects"
    return [(line.split()[0], line.split()[1]) for line in file.read_text().splitlines()] if file.exists() else []


def ran_by(folder: Path, version: str, loads: list[Load]) -> None:
    """Returns when workers of that version have run jobs that were put from now on, through either API."""
    known = [len(load.accepted) for load in loads]

    def seen() -> bool:
        ran = {job_id for job_id, by in effects(folder) if by == version}
        return all(len(ran & set(load.accepted[start:])) >= 20 for load, start in zip(loads, known, strict=True))

    eventually_sync(seen)


async def as_async(value: Any) -> Any:
    return value
