"""A job that got a 202 runs, also if any process is killed in between."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import redis as sync_redis

from errand.redis.embedded import socket_path
from tests.pictures import image
from tests.processes.conftest import ROOT, House
from tests.waiting import eventually_sync

LETTER = {"to": "ada@example.com", "name": "Ada"}


def test_a_killed_api_and_a_killed_worker_lose_nothing(house: House) -> None:
    api, worker = house.api(), house.worker()
    worker.kill()
    job = house.post("/v1/jobs/welcome_email", json=LETTER)
    api.kill()
    api.wait()
    house.api()
    house.worker()
    assert house.ended(job)["status"] == "succeeded"


def test_a_killed_redis_loses_nothing_that_was_accepted(house: House) -> None:
    house.api()
    accepted = [house.post("/v1/jobs/welcome_email", json=LETTER, params={"delay": "1h"}) for _ in range(20)]
    now = house.post("/v1/jobs/welcome_email", json=LETTER)
    os.kill(_redis_pid(house), signal.SIGKILL)
    for process in house.processes:
        process.kill()
        process.wait()
    house.api()
    house.worker()
    assert {house.get(job["id"])["status"] for job in accepted} == {"deferred"}
    assert house.ended(now)["status"] == "succeeded"


def test_api_and_worker_outlive_a_killed_redis(house: House) -> None:
    house.api()
    worker = house.worker()
    os.kill(_redis_pid(house), signal.SIGKILL)
    job = eventually_sync(lambda: _accepted(house), timeout_s=20)
    assert house.ended(job)["status"] == "succeeded"
    assert worker.poll() is None


def test_a_worker_killed_in_the_middle_of_a_job_is_followed_by_another(house: House) -> None:
    house.api()
    worker = house.worker(LEASE_S="2")
    files = {"file": ("big.jpg", image(6000, 5000))}
    job = house.post("/v1/jobs/resize", files=files, data={"args": '{"sizes": [{"width": 3000, "format": "avif"}]}'})
    eventually_sync(lambda: house.get(job["id"])["status"] == "in_progress")
    worker.kill()
    worker.wait()
    house.worker(LEASE_S="2")
    done = house.ended(job, within_s=40)
    assert done["status"] == "succeeded"
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["lost", "succeeded"]


ONLY_ONCE_SLOW = """
import asyncio
from pydantic import BaseModel
from errand import Context, job

class Nothing(BaseModel): ...

@job()
async def slow_at_first(ctx: Context, args: Nothing) -> int:
    if ctx.attempt == 1:
        await asyncio.sleep(60)
    return ctx.attempt
"""
LEASE_S = 2


def test_a_killed_workers_jobs_run_elsewhere_within_a_lease_and_a_second(
    new_house: Callable[..., House], tmp_path: Path
) -> None:
    (tmp_path / "slow_jobs.py").write_text(ONLY_ONCE_SLOW)
    environment = {"JOB_PACKAGES": "slow_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}", "LEASE_S": str(LEASE_S)}
    house = new_house(environment=environment)
    house.api()
    victim = house.worker()
    jobs = [house.post("/v1/jobs/slow_at_first", json={}) for _ in range(20)]
    eventually_sync(lambda: all(house.get(job["id"])["status"] == "in_progress" for job in jobs))
    rescuer = house.worker()
    killed_at = datetime.now(UTC)
    victim.kill()
    ends = [house.ended(job) for job in jobs]
    assert [[attempt["outcome"] for attempt in job["attempts"]] for job in ends] == [["lost", "succeeded"]] * len(jobs)
    recovered_s = [(_started(job["attempts"][1]) - killed_at).total_seconds() for job in ends]
    assert max(recovered_s) <= LEASE_S + 1
    assert rescuer.poll() is None


def _started(attempt: dict[str, str]) -> datetime:
    return datetime.fromisoformat(attempt["started_at"])


def test_a_killed_worker_leaves_no_process_behind(house: House) -> None:
    house.api()
    worker = house.worker()
    files = {"file": ("big.jpg", image(6000, 5000))}
    job = house.post("/v1/jobs/resize", files=files, data={"args": '{"sizes": [{"width": 3000, "format": "avif"}]}'})
    eventually_sync(lambda: house.get(job["id"])["status"] == "in_progress")
    children = eventually_sync(lambda: _children_of(worker.pid))
    worker.kill()
    worker.wait()
    eventually_sync(lambda: not [pid for pid in children if _runs(pid)])


def test_a_worker_that_a_signal_stops_ends_its_jobs_first(house: House) -> None:
    house.api()
    worker = house.worker()
    files = {"file": ("big.jpg", image(4000, 3000))}
    job = house.post("/v1/jobs/resize", files=files, data={"args": '{"sizes": [{"width": 2000, "format": "avif"}]}'})
    eventually_sync(lambda: house.get(job["id"])["status"] == "in_progress")
    worker.terminate()
    assert worker.wait(30) == 0
    done = house.get(job["id"])
    assert (done["status"], len(done["attempts"])) == ("succeeded", 1)


def test_two_houses_on_one_machine_do_not_meet(new_house: Callable[..., House]) -> None:
    first, second = new_house(), new_house()
    first.api()
    second.api()
    job = first.post("/v1/jobs/welcome_email", json=LETTER)
    second.worker()
    assert first.get(job["id"])["status"] == "queued"


def _accepted(house: House) -> dict[str, str] | None:
    answer = httpx.post(f"{house.url}/v1/jobs/welcome_email", json=LETTER, timeout=5)
    assert answer.status_code in (202, 503), answer.text
    return answer.json() if answer.status_code == 202 else None


def _redis_pid(house: House) -> int:
    with sync_redis.Redis(unix_socket_path=str(socket_path(house.data_dir / "redis"))) as client:
        return int(client.info("server")["process_id"])


def _children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as listed:
        direct = [int(child) for child in listed.read().split()]
    return direct


def _runs(pid: int) -> bool:
    """True for a process that lives; a zombie waiting to be reaped does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_requests_that_a_killed_api_left_unanswered_can_be_sent_again(house: House) -> None:
    """Some had their job put and lost the answer, some had nothing put: with a key each ends as one job."""
    api = house.api()
    number = 400
    answered = 0

    async def send(client: httpx.AsyncClient, index: int) -> dict[str, Any] | None:
        nonlocal answered
        headers = {"Idempotency-Key": f"key-{index}"}
        args = {**LETTER, "name": str(index)}
        try:
            answer = await client.post("/v1/jobs/welcome_email?delay=1h", json=args, headers=headers)
        except httpx.HTTPError:
            return None
        answered += 1
        if answered == number // 4:
            api.kill()
        assert answer.status_code == 202
        job: dict[str, Any] = answer.json()
        return job

    async with httpx.AsyncClient(base_url=house.url, timeout=30) as client:
        first = await asyncio.gather(*(send(client, index) for index in range(number)))
    assert first.count(None) > 0, "the kill left requests without an answer"
    api.wait()
    house.api()
    async with httpx.AsyncClient(base_url=house.url, timeout=30) as client:
        again = await asyncio.gather(*(send(client, index) for index in range(number)))
    assert [one for one, other in zip(first, again, strict=True) if one is not None and one != other] == []
    assert [job and job["args"]["name"] for job in again] == [str(index) for index in range(number)]
    with sync_redis.Redis(unix_socket_path=str(socket_path(house.data_dir / "redis"))) as redis:
        assert redis.zcard("arq:queue") == number
