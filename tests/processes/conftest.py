"""API and worker as real processes, each test with a data folder of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from errand.http.requests.waits import MAX_WAIT_S
from errand.redis import guardian as redis_guardian
from tests.ports import free_port
from tests.programs.start import Program, from_nothing, start
from tests.waiting import NEVER_S, eventually_sync

ROOT = Path(__file__).parent.parent.parent


@dataclass
class House:
    """One installation: its settings, and the processes started in it."""

    data_dir: Path
    port: int
    sink_port: int
    environment: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT
    stdin: int | None = None
    processes: list[Program] = field(default_factory=list)
    http: httpx.Client = field(default_factory=lambda: new_client())
    """For requests to any of them; each has a connection of its own, as what answers may be killed in between."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, module: str, *arguments: str, **environment: str) -> Program:
        """`python -m module …` with this installation's settings; its output goes to a file beside the data."""
        known = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "DATA_DIR": str(self.data_dir),
            "PORT": str(self.port),
            "WEBHOOK_SINK_PORT": str(self.sink_port),
            **self.environment,
            **environment,
        }
        if self.root == ROOT and self.stdin is None:
            process = start(module, *arguments, environment=known, output=self.log(module))
        else:
            process = from_nothing(
                module, *arguments, folder=self.root, environment=known, output=self.log(module), stdin=self.stdin
            )
        self.processes.append(process)
        return process

    def log(self, module: str) -> Path:
        return self.data_dir / f"{module}.log"

    def api(self, **environment: str) -> Program:
        """Starts the API; returns when it answers."""
        process = self.start("service", **environment)
        eventually_sync(lambda: self.answers("/healthz"))
        return process

    def worker(self, **environment: str) -> Program:
        """Starts a worker; returns when the API knows of it."""
        process = self.start("jobs", **environment)
        eventually_sync(lambda: self.answers("/readyz"))
        return process

    def answers(self, path: str) -> bool:
        try:
            return self.listens() and self.http.get(self.url + path).status_code == 200
        except httpx.HTTPError:
            return False

    def listens(self) -> bool:
        """A look that costs nothing: a hundred a second, while a program starts, are to leave it the processor."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def post(self, path: str, expect: int = 202, **request: Any) -> dict[str, Any]:
        answer = self.http.post(self.url + path, **request)
        assert answer.status_code == expect, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def get(self, job_id: str, *, wait_s: float = 0) -> dict[str, Any]:
        """The job. A 503 says that Redis was slow, and to ask again."""

        def look() -> httpx.Response | None:
            answer = self.http.get(f"{self.url}/v1/jobs/{job_id}", params={"wait": wait_s})
            return None if answer.status_code == 503 else answer

        answer = eventually_sync(look)
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job at its end."""
        ends = ("succeeded", "failed", "cancelled")

        def end() -> dict[str, Any] | None:
            seen = self.get(job["id"], wait_s=MAX_WAIT_S)
            return seen if seen["status"] in ends else None

        return eventually_sync(end)

    def close(self) -> None:
        """Kills what of it still runs; returns when its Redis has stopped too."""
        for process in self.processes:
            process.kill()
            process.wait()
        eventually_sync(self.redis_is_stopped)
        self.http.close()

    def redis_is_stopped(self) -> bool:
        folder = self.data_dir / "redis"
        return not folder.exists() or not redis_guardian.is_held(folder / "server.lock")


@pytest.fixture
def new_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Makes installations; at the end of the test nothing of them runs any more."""
    houses: list[House] = []

    def make(**values: Any) -> House:
        house = House(tmp_path / f"house-{len(houses)}", port=free_port(), sink_port=free_port(), **values)
        houses.append(house)
        return house

    yield make
    for house in houses:
        house.close()


@contextmanager
def a_house(folder: Path, **values: Any) -> Iterator[House]:
    """For several tests that leave no trace in it."""
    house = House(folder, port=free_port(), sink_port=free_port(), **values)
    try:
        yield house
    finally:
        house.close()


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    return new_house()


def new_client() -> httpx.Client:
    """One that keeps no connection, and that loads no authorities: nothing here is asked by https."""
    return httpx.Client(verify=False, timeout=2 * NEVER_S, limits=httpx.Limits(max_keepalive_connections=0))
