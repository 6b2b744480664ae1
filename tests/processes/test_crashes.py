"""A job that got a 202 runs, also if any process is killed in between."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis as sync_redis

from errand.redis.embedded import socket_path
from errand.wire import codec, keys
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
    job = eventually_sync(lambda: _accepted(house))
    assert house.ended(job)["status"] == "succeeded"
    assert worker.poll() is None


JOBS = """
import asyncio
import os
import time
from pathlib import Path
from pydantic import BaseModel
from errand import Context, job
from errand.resources.openers import process_pool

class Nothing(BaseModel): ...

@job()
async def slow_at_first(ctx: Context, args: Nothing) -> int:
    if ctx.attempt == 1:
        await asyncio.Event().wait()
    return ctx.attempt

@job(concurrency=2, max_tries=9)
async def limited(ctx: Context, args: Nothing) -> None:
    note("start", ctx.job_id)
    await asyncio.sleep(0.02)
    note("end", ctx.job_id)

def note(what: str, job_id: str) -> None:
    with open(os.environ["GO_ON"], "a") as journal:
        journal.write(f"{what} {os.getpid()} {job_id}\\n")

def computed():
    while not Path(os.environ["GO_ON"]).exists():
        time.sleep(0.01)

@job(queue="cpu", uses=[process_pool])
async def computing(ctx: Context, args: Nothing) -> int:
    await ctx.use(process_pool).run(3600, computed)
    return ctx.attempt
"""


@pytest.fixture
def go_on(tmp_path: Path) -> Path:
    """The file that the jobs called `computing` wait for."""
    return tmp_path / "go-on"


@pytest.fixture
def house_of_jobs(new_house: Callable[..., House], tmp_path: Path, go_on: Path) -> House:
    """An installation with the two job types above."""
    (tmp_path / "crash_jobs.py").write_text(JOBS)
    path = f"{ROOT}:{tmp_path}"
    environment = {"JOB_PACKAGES": "crash_jobs", "PYTHONPATH": path, "LEASE_S": "2", "GO_ON": str(go_on)}
    return new_house(environment=environment)


def test_a_killed_workers_jobs_run_elsewhere_and_its_processes_end(house_of_jobs: House, go_on: Path) -> None:
    house = house_of_jobs
    house.api()
    victim = house.worker()
    jobs = [house.post("/v1/jobs/slow_at_first", json={}) for _ in range(20)]
    jobs.append(house.post("/v1/jobs/computing", json={}))
    eventually_sync(lambda: all(_runs_now(house, job) for job in jobs))
    children = eventually_sync(lambda: _children_of(victim.pid))
    rescuer = house.worker()
    victim.kill()
    victim.wait()
    eventually_sync(lambda: not [pid for pid in children if _runs(pid)])
    go_on.touch()
    ends = [house.ended(job) for job in jobs]
    assert [[attempt["outcome"] for attempt in job["attempts"]] for job in ends] == [["lost", "succeeded"]] * len(jobs)
    assert rescuer.poll() is None


def test_a_limit_holds_over_workers_and_its_slots_come_free_when_one_is_killed(
    house_of_jobs: House, go_on: Path
) -> None:
    house, journal = house_of_jobs, go_on
    house.api()
    workers = [house.worker() for _ in range(2)]
    put = house.post("/v1/jobs/limited/batch", json=[{}] * 60)
    victim = eventually_sync(lambda: _first_pid_in(journal))
    killed = next(worker for worker in workers if worker.pid == victim)
    killed.kill()
    killed.wait()
    with journal.open("a") as shared:
        shared.write(f"killed {victim} -\n")
    ends = [house.ended({"id": job_id}) for job_id in put["ids"]]
    assert {job["status"] for job in ends} == {"succeeded"}
    running: set[tuple[str, str]] = set()
    for line in journal.read_text().splitlines():
        what, pid, job_id = line.split()
        if what == "start":
            running.add((pid, job_id))
        elif what == "end":
            running.discard((pid, job_id))
        else:
            running = {each for each in running if each[0] != pid}
        assert len(running) <= 2


def _first_pid_in(journal: Path) -> int | None:
    """A process that has started a job, when some have run."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return int(lines[19].split()[1]) if len(lines) > 20 else None


def test_a_worker_that_a_signal_stops_ends_its_jobs_first(house_of_jobs: House, go_on: Path) -> None:
    house = house_of_jobs
    house.api()
    worker = house.worker(DRAIN_S="60")  # how long the job takes is up to the machine
    job = house.post("/v1/jobs/computing", json={})
    eventually_sync(lambda: _runs_now(house, job))
    worker.terminate()
    eventually_sync(lambda: "draining" in house.log("jobs").read_text())
    go_on.touch()
    assert worker.wait(60) == 0
    done = house.get(job["id"])
    assert (done["status"], len(done["attempts"])) == ("succeeded", 1)


def _runs_now(house: House, job: dict[str, Any]) -> bool:
    return bool(house.get(job["id"])["status"] == "in_progress")


def test_two_houses_on_one_machine_do_not_meet(new_house: Callable[..., House]) -> None:
    first, second = new_house(), new_house()
    first.api()
    second.api()
    job = first.post("/v1/jobs/welcome_email", json=LETTER)
    second.worker()
    assert first.get(job["id"])["status"] == "queued"


def _accepted(house: House) -> dict[str, str] | None:
    answer = house.http.post(f"{house.url}/v1/jobs/welcome_email", json=LETTER)
    assert answer.status_code in (202, 503), answer.text
    return answer.json() if answer.status_code == 202 else None


WALK = """
import asyncio
from pydantic import BaseModel
from errand import Context, job

class Step(BaseModel):
    walk: int
    left: int

@job(max_tries=50)
async def step(ctx: Context, args: Step) -> None:
    await asyncio.sleep(0.005)
    if args.left:
        ctx.add_task(step, walk=args.walk, left=args.left - 1)
    await asyncio.sleep(0.005)
"""


def test_killed_workers_neither_lose_nor_double_a_follow_up(new_house: Callable[..., House], tmp_path: Path) -> None:
    """Walks of many steps, each put by the success of the one before; workers are killed in the midst of them."""
    walks, length = 40, 15
    (tmp_path / "walk_jobs.py").write_text(WALK)
    environment = {"JOB_PACKAGES": "walk_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}", "LEASE_S": "2"}
    house = new_house(environment=environment)
    house.api()
    args = [{"walk": number, "left": length - 1} for number in range(walks)]
    assert len(house.post("/v1/jobs/step/batch", json=args)["ids"]) == walks
    redis = sync_redis.Redis(unix_socket_path=str(socket_path(house.data_dir / "redis")))
    worker = house.worker()
    for killed in (1, 2):
        eventually_sync(lambda at=killed: len(_results(redis)) > at * walks * length / 4)  # type: ignore[misc]
        worker.kill()
        worker = house.worker()
    eventually_sync(lambda: not redis.exists(keys.queue("default")))
    steps = [codec.loads(result) for result in redis.mget(_results(redis))]  # type: ignore[union-attr]
    assert sorted((step["k"]["walk"], step["k"].get("left")) for step in steps) == [
        (walk, left) for walk in range(walks) for left in range(length)
    ]
    assert all(step["s"] for step in steps)
    assert any(attempt["outcome"] == "lost" for step in steps for attempt in step["attempts"])


FAN = """
import asyncio
import os
import signal
from pydantic import BaseModel
from errand import PREVIOUS, RESULTS, Context, chain, group, job

class Part(BaseModel):
    fan: int
    number: int = 0

class Parts(BaseModel):
    fan: int
    numbers: list[int]

@job(max_tries=50)
async def part(ctx: Context, args: Part) -> int:
    await asyncio.sleep(0.005)
    return args.number

@job(max_tries=50)
async def total(ctx: Context, args: Parts) -> int:
    await asyncio.sleep(0.005)
    if args.fan == 0 and ctx.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(args.numbers)

@job(max_tries=50)
async def fan(ctx: Context, args: Part) -> None:
    parts = [
        chain(part.s(fan=args.fan, number=number), part.s(fan=args.fan, number=PREVIOUS)) for number in range(10)
    ]
    joined = group(*parts, then=total.s(fan=args.fan, numbers=RESULTS))
    ctx.add_task(chain(joined, part.s(fan=args.fan, number=PREVIOUS)))
"""


def test_killed_workers_neither_lose_nor_double_a_step_or_a_join(
    new_house: Callable[..., House], tmp_path: Path
) -> None:
    """Groups of chains, each put by a job's success and joined; one join kills its worker in the midst of all that."""
    fans = 15
    (tmp_path / "fan_jobs.py").write_text(FAN)
    environment = {"JOB_PACKAGES": "fan_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}", "LEASE_S": "2"}
    house = new_house(environment=environment)
    house.api()
    assert len(house.post("/v1/jobs/fan/batch", json=[{"fan": number} for number in range(fans)])["ids"]) == fans
    redis = sync_redis.Redis(unix_socket_path=str(socket_path(house.data_dir / "redis")))
    workers = [house.worker()]
    eventually_sync(lambda: _is_empty(redis, house, workers))
    assert len(workers) > 1
    ended = [codec.loads(result) for result in redis.mget(_results(redis))]  # type: ignore[union-attr]
    assert all(job["s"] for job in ended)
    found = Counter((job["f"], job["k"]["fan"], job["r"]) for job in ended)
    parts = Counter({("part", fan, number): 2 for fan in range(fans) for number in range(10)})
    joined = Counter((name, fan, 45) for fan in range(fans) for name in ("total", "part"))
    assert found == parts + joined + Counter(("fan", fan, None) for fan in range(fans))
    assert any(attempt["outcome"] == "lost" for job in ended for attempt in job["attempts"])


def _is_empty(redis: sync_redis.Redis, house: House, workers: list[Any]) -> bool:
    """True if all jobs have ended; a worker that has ended is followed by another."""
    if workers[-1].poll() is not None:
        workers.append(house.worker())
    return not redis.exists(keys.queue("default"))


def _results(redis: sync_redis.Redis) -> list[bytes]:
    found: list[bytes] = redis.keys(keys.result("*"))  # type: ignore[assignment]
    return found


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
    number = 120
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

    async with httpx.AsyncClient(base_url=house.url, timeout=60, verify=False) as client:
        first = await asyncio.gather(*(send(client, index) for index in range(number)))
    assert first.count(None) > 0, "the kill left requests without an answer"
    api.wait()
    house.api()
    async with httpx.AsyncClient(base_url=house.url, timeout=60, verify=False) as client:
        again = await asyncio.gather(*(send(client, index) for index in range(number)))
    assert [one for one, other in zip(first, again, strict=True) if one is not None and one != other] == []
    assert [job and job["args"]["name"] for job in again] == [str(index) for index in range(number)]
    with sync_redis.Redis(unix_socket_path=str(socket_path(house.data_dir / "redis"))) as redis:
        assert redis.zcard(keys.queue("mail")) == number
