"""Schedules with real worker processes: a killed worker takes no time along, and no time becomes two jobs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import redis as sync_redis

from errand.job.schedule import job_id_of
from errand.redis.embedded import socket_path
from errand.wire import keys
from tests.processes.conftest import ROOT, House
from tests.waiting import eventually_sync

MODULE = """
from pydantic import BaseModel
from errand import Context, Schedule, job

class Nothing(BaseModel): ...

@job(schedule={schedule})
async def chime(ctx: Context, args: Nothing) -> None: ...
"""
EVERY_SECOND = 'Schedule("* * * * * *", grace_s=60)'
QUEUE = keys.queue(keys.DEFAULT_QUEUE)


@pytest.fixture
def house_of(new_house: Callable[..., House], tmp_path: Path) -> Callable[[str], House]:
    """A house with one more job type, whose `schedule=` is the text given."""

    def make(schedule: str) -> House:
        (tmp_path / "chime.py").write_text(MODULE.format(schedule=schedule))
        return new_house(environment={"JOB_PACKAGES": "chime", "PYTHONPATH": f"{ROOT}:{tmp_path}", "LEASE_S": "2"})

    return make


class Puts:
    """The ids of all jobs that are put while it listens, each as often as it is put."""

    def __init__(self, house: House) -> None:
        self.seen = Counter[str]()
        self._client = sync_redis.Redis(unix_socket_path=str(socket_path(house.data_dir / "redis")))
        self._pubsub = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.subscribe(**{keys.events(QUEUE): self._receive})
        self._thread: threading.Thread = self._pubsub.run_in_thread(sleep_time=0.05)

    def _receive(self, message: dict[str, bytes]) -> None:
        changes = [line.partition(" ") for line in message["data"].decode().splitlines()]
        self.seen.update(job_id for status, _, job_id in changes if status == "queued")

    def tickers(self) -> int:
        """How many workers' tickers listen for changes."""
        ((_, listeners),) = cast(list[tuple[bytes, int]], self._client.pubsub_numsub(keys.SCHEDULES_CHANGED))
        return listeners

    def wait_for_more(self, number: int) -> None:
        so_far = len(self.seen)
        eventually_sync(lambda: len(self.seen) >= so_far + number)

    def close(self) -> None:
        self._thread.stop()  # type: ignore[attr-defined]  # redis-py's own kind of thread
        self._thread.join()
        self._client.close()


def every_second_since(first: str, number: int) -> list[str]:
    begin = datetime.strptime(first.rpartition("-")[2], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return [job_id_of("chime", int((begin + timedelta(seconds=n)).timestamp()) * 1000) for n in range(number)]


def test_two_of_three_workers_are_killed_and_every_second_is_one_job(house_of: Callable[[str], House]) -> None:
    house = house_of(EVERY_SECOND)
    house.api()
    workers = [house.worker() for _ in range(3)]
    puts = Puts(house)
    try:
        eventually_sync(lambda: puts.tickers() == len(workers))
        for victim in workers[:2]:
            puts.wait_for_more(2)
            victim.kill()
        puts.wait_for_more(3)
    finally:
        puts.close()
    assert set(puts.seen.values()) == {1}
    put = sorted(puts.seen)
    assert put == every_second_since(put[0], len(put))
    assert house.ended({"id": put[-1]})["status"] == "succeeded"


@pytest.mark.parametrize(("misfire", "jobs"), [("skip", 0), ("run_once", 1)])
def test_a_worker_that_comes_back_after_an_hour_obeys_misfire(
    house_of: Callable[[str], House], misfire: str, jobs: int
) -> None:
    # each hour, half an hour from now: no time of it is near, to be run as one that is hardly late
    missed_ms = int(time.time() - 5400) // 60 * 60_000
    house = house_of(f'Schedule("{missed_ms // 60_000 % 60} * * * *", misfire="{misfire}")')
    house.api()
    url = f"{house.url}/v1/schedules/chime"
    worker = house.worker()
    eventually_sync(lambda: house.http.get(url).status_code == 200)
    worker.kill()
    worker.wait()
    with sync_redis.Redis(unix_socket_path=str(socket_path(house.data_dir / "redis"))) as redis:
        redis.zadd(keys.SCHEDULES, {"chime": missed_ms})
    house.start("jobs")
    schedule = eventually_sync(lambda: (seen := house.http.get(url).json())["last_missed_at"] and seen)
    assert datetime.fromisoformat(schedule["last_missed_at"]).timestamp() * 1000 == missed_ms
    assert datetime.fromisoformat(schedule["next_fires"][0]["utc"]) > datetime.now(UTC)
    assert (schedule["last_fire"] is not None) == bool(jobs)
    if jobs:
        assert house.ended({"id": job_id_of("chime", missed_ms)})["status"] == "succeeded"


def test_a_schedule_made_over_http_runs_at_its_time(house: House) -> None:
    house.api()
    house.worker()
    letter = {"to": "ada@example.com", "name": "Ada"}
    body = {"type": "welcome_email", "args": letter, "cron": "* * * * * *"}
    schedule = house.post("/v1/schedules", expect=201, json=body)
    url = house.url + schedule["links"]["self"]
    fired = eventually_sync(lambda: (seen := house.http.get(url).json())["last_fire"] and seen)
    assert house.ended({"id": fired["last_fire"]["job_id"]})["status"] == "succeeded"
    assert house.http.delete(url).status_code == 204
