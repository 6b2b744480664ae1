"""API and worker as processes on a cluster: what jobs do on one server, they do there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from errand.redis.cluster.tag import Tag
from tests.processes.conftest import ROOT, House, a_house
from tests.redis_cluster import Cluster
from tests.waiting import eventually_sync

JOBS = """
import asyncio
import os
from pathlib import Path

from pydantic import BaseModel

from errand import PREVIOUS, Context, Fail, Retry, chain, job

ALLOWED = Path(os.environ["ALLOWED"])
running: set[str] = set()

class Nothing(BaseModel): ...

class Number(BaseModel):
    number: int

@job()
async def double(ctx: Context, args: Number) -> int:
    return 2 * args.number

@job()
async def again(ctx: Context, args: Nothing) -> int:
    if ctx.attempt < 3:
        raise Retry(after_s=0.05)
    ctx.add_task(chain(double.s(number=ctx.attempt), double.s(number=PREVIOUS)))
    return ctx.attempt

@job()
async def forbidden(ctx: Context, args: Nothing) -> None:
    if not ALLOWED.exists():
        raise Fail("not yet")

@job()
async def endless(ctx: Context, args: Nothing) -> None:
    await asyncio.Event().wait()

@job(concurrency=1)
async def single(ctx: Context, args: Nothing) -> int:
    running.add(ctx.job_id)
    await asyncio.sleep(0.02)
    beside = len(running) - 1
    running.discard(ctx.job_id)
    return beside
"""


@pytest.mark.parametrize("partitions", [1, 3])
def test_what_jobs_do_on_one_server_they_do_in_a_cluster(
    cluster: Cluster, redis_url: str, tmp_path: Path, partitions: int
) -> None:
    (tmp_path / "cluster_jobs.py").write_text(JOBS)
    environment = {
        "REDIS_URL": f"{redis_url}/in-{partitions}",
        "QUEUE_PARTITIONS": str(partitions),
        "JOB_PACKAGES": "cluster_jobs",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "ALLOWED": str(tmp_path / "allowed"),
    }
    with a_house(tmp_path / "house", environment=environment) as house:
        house.api()
        house.worker()
        retries_and_is_followed_by_a_chain(house)
        waits_and_is_cancelled(house)
        dies_and_is_replayed(house, tmp_path / "allowed")
        is_put_by_a_schedule(house)
        runs_alone_by_its_limit(house)
        waits_while_its_queue_is_paused(house)
        is_seen_by_the_doctor(house, cluster, [Tag(f"in-{partitions}", number).slot for number in range(partitions)])


def retries_and_is_followed_by_a_chain(house: House) -> None:
    put = house.post("/v1/jobs/again", json={}, headers={"Idempotency-Key": "once"})
    assert house.post("/v1/jobs/again", json={}, headers={"Idempotency-Key": "once"})["id"] == put["id"]
    names = eventually_sync(lambda: event_names(house, put["id"]))
    assert names[-1] == "succeeded"
    done = house.ended(put)
    assert (done["result"], len(done["attempts"])) == (3, 3)
    last = eventually_sync(lambda: next((job for job in listed(house, "double") if job["result"] == 12), None))
    assert last["status"] == "succeeded"


def event_names(house: House, job_id: str) -> list[str]:
    """None on a machine that is so busy that Redis counts as away."""
    with house.http.stream("GET", f"{house.url}/v1/jobs/{job_id}/events") as events:
        assert events.status_code in (200, 503)
        return [line.removeprefix("event: ") for line in events.iter_lines() if line.startswith("event:")]


def listed(house: House, type_name: str) -> list[dict[str, Any]]:
    answer = house.http.get(f"{house.url}/v1/jobs", params={"type": type_name, "status": "succeeded"})
    assert answer.status_code == 200, answer.text
    jobs: list[dict[str, Any]] = answer.json()["jobs"]
    return [house.get(job["id"]) for job in jobs]


def waits_and_is_cancelled(house: House) -> None:
    later = house.post("/v1/jobs/endless", json={}, params={"delay": "1h"})
    runs = house.post("/v1/jobs/endless", json={})
    eventually_sync(lambda: house.get(runs["id"])["status"] == "in_progress")
    for job in (later, runs):
        assert house.http.post(f"{house.url}/v1/jobs/{job['id']}/cancel").status_code in (200, 202)
        assert house.ended(job)["status"] == "cancelled"


def dies_and_is_replayed(house: House, allowed: Path) -> None:
    put = house.post("/v1/jobs/forbidden", json={})
    assert house.ended(put)["status"] == "failed"
    allowed.touch()
    answer = house.http.post(f"{house.url}/v1/dead-jobs/replay", json={"type": "forbidden"})
    assert answer.json()["ids"] == [put["id"]], answer.text
    eventually_sync(lambda: house.get(put["id"])["status"] == "succeeded")


def is_put_by_a_schedule(house: House) -> None:
    schedule = {"type": "double", "args": {"number": 50}, "cron": "* * * * * *"}
    answer = house.http.put(f"{house.url}/v1/schedules/often", json=schedule)
    assert answer.status_code in (200, 201), answer.text
    eventually_sync(lambda: any(job["result"] == 100 for job in listed(house, "double")))
    assert house.http.delete(f"{house.url}/v1/schedules/often").status_code == 204


def runs_alone_by_its_limit(house: House) -> None:
    ids = house.post("/v1/jobs/single/batch", json=[{}] * 8)["ids"]
    assert [house.ended({"id": job_id})["result"] for job_id in ids] == [0] * 8


def waits_while_its_queue_is_paused(house: House) -> None:
    assert house.http.post(f"{house.url}/v1/queues/default/pause").status_code == 200
    put = house.post("/v1/jobs/double", json={"number": 1})
    stats = house.http.get(f"{house.url}/v1/stats").json()
    assert house.get(put["id"])["status"] == "queued" and '"due":1' in json.dumps(stats).replace(" ", "")
    assert house.http.post(f"{house.url}/v1/queues/default/resume").status_code == 200
    assert house.ended(put)["status"] == "succeeded"


def is_seen_by_the_doctor(house: House, cluster: Cluster, slots: list[int]) -> None:
    house.start("errand", "doctor").wait()
    said = house.log("errand").read_text()
    for slot in slots:
        assert f"in slot {slot}, on {cluster.owner(slot).server.place}" in said, said
    assert "queues served" in said, said
    assert house.start("errand", "health", "worker").wait() == 0
