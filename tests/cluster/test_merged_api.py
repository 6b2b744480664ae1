"""API and worker as processes over three partitions: what the API lists, counts, streams and acts on is of all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from errand import SyncClient
from errand.redis.cluster.tag import Tag
from errand.wire import keys
from tests.conftest import make_settings
from tests.dashboard.page_seen import OWN_PAGE
from tests.processes.conftest import ROOT, House, a_house
from tests.redis_cluster import Cluster
from tests.waiting import NEVER_S, eventually_sync

PARTITIONS = 3
JOBS = """
import os
from pathlib import Path

from pydantic import BaseModel

from errand import Context, Fail, job

ALLOWED = Path(os.environ["ALLOWED"])

class Number(BaseModel):
    number: int = 0

@job()
async def double(ctx: Context, args: Number) -> int:
    return 2 * args.number

@job()
async def forbidden(ctx: Context, args: Number) -> None:
    if not ALLOWED.exists():
        raise Fail("not yet")

@job()
async def parent(ctx: Context, args: Number) -> None:
    for number in range(3):
        ctx.add_task(double, number=number)
"""


@pytest.fixture(scope="module")
def house(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("merged")
    (folder / "merged_jobs.py").write_text(JOBS)
    environment = {
        "REDIS_URL": f"{cluster.url}/merged",
        "QUEUE_PARTITIONS": str(PARTITIONS),
        "JOB_PACKAGES": "jobs,merged_jobs",
        "PYTHONPATH": f"{ROOT}:{folder}",
        "ALLOWED": str(folder / "allowed"),
    }
    with a_house(folder / "house", environment=environment) as house:
        house.api()
        house.worker()
        yield house


def put(house: House, type_name: str, number: int, **params: Any) -> list[str]:
    """The ids of so many jobs, each put by a request of its own: ids that are drawn lie in all partitions."""
    return [house.post(f"/v1/jobs/{type_name}", json={"number": each}, params=params)["id"] for each in range(number)]


def get(house: House, path: str, **params: Any) -> Any:
    answer = house.http.get(house.url + path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(house: House, path: str, **body: Any) -> Any:
    answer = house.http.post(house.url + path, json=body or None)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


def walked(house: House, path: str, **params: Any) -> list[str]:
    """The ids of all pages."""
    ids: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = get(house, path, **params, **cursor)
        ids += [job["id"] for job in page["jobs"]]
        if page["cursor"] is None:
            return ids
        cursor = {"cursor": page["cursor"]}


def partitions_with(cluster: Cluster, key: str) -> int:
    tags = [Tag("merged", number) for number in range(PARTITIONS)]
    return sum(bool(cluster.owner(tag.slot).client.exists(tag.named(key))) for tag in tags)


def partition_of(cluster: Cluster, key: str) -> int:
    tags = [Tag("merged", number) for number in range(PARTITIONS)]
    return next(number for number, tag in enumerate(tags) if cluster.owner(tag.slot).client.exists(tag.named(key)))


def test_lists_counts_and_metrics_are_of_all_partitions(house: House, cluster: Cluster) -> None:
    ids = put(house, "double", 30)
    for job_id in ids:
        house.ended({"id": job_id})
    assert partitions_with(cluster, keys.ended(keys.queue("default"))) == PARTITIONS
    assert sorted(walked(house, "/v1/jobs", type="double", limit=7)) == sorted(ids)
    later = put(house, "double", 9, delay="1h")
    assert sorted(walked(house, "/v1/jobs", status="deferred", limit=2)) == sorted(later)
    (queue,) = [queue for queue in get(house, "/v1/queues") if queue["name"] == "default"]
    stats = get(house, "/v1/stats")
    assert queue["deferred"] == stats["deferred"] == 9 and queue["workers"] == stats["workers"] == 1
    metrics = house.http.get(f"{house.url}/metrics")
    counted = r'errand_attempts_total\{queue="default",outcome="succeeded"\} (\d+)'

    def attempts() -> bool:
        found = re.search(counted, house.http.get(f"{house.url}/metrics").text)
        return found is not None and int(found[1]) >= len(ids)

    assert metrics.status_code == 200 and eventually_sync(attempts)
    (worker,) = get(house, "/v1/workers")
    assert worker["queues"].count("default") == 1
    every = {"action": "cancel", "all": "yes", "query": "status=deferred", "per_second": "1000"}
    run = house.http.post(f"{house.url}/dashboard/bulk/run", data=every, headers=OWN_PAGE)
    assert run.status_code == 303, run.text
    eventually_sync(lambda: sorted(walked(house, "/v1/jobs", status="cancelled")) == sorted(later))


def test_a_job_leads_to_its_children_wherever_they_are(house: House) -> None:
    for job_id in put(house, "parent", 4):
        house.ended({"id": job_id})
        children = get(house, f"/v1/jobs/{job_id}/children")["jobs"]
        assert [child["type"] for child in children] == ["double"] * 3
        assert house.http.get(f"{house.url}/dashboard/jobs/{job_id}").status_code == 200


def test_dead_jobs_are_grouped_and_replayed_over_all_partitions(house: House) -> None:
    ids = put(house, "forbidden", 15)
    for job_id in ids:
        assert house.ended({"id": job_id})["status"] == "failed"
    (group,) = get(house, "/v1/dead-jobs/groups", type="forbidden")["groups"]
    assert group["count"] == 15 and group["example"]["id"] in ids
    assert sorted(walked(house, "/v1/dead-jobs", limit=4)) == sorted(ids)
    one = post(house, f"/v1/jobs/{ids[0]}/retry")
    assert one["status"] in ("queued", "in_progress", "failed")
    house.ended(one)
    Path(house.environment["ALLOWED"]).touch()
    replayed = post(house, "/v1/dead-jobs/replay", type="forbidden")
    assert (replayed["count"], replayed["remaining"]) == (15, 0)
    for job_id in ids:
        assert house.ended({"id": job_id})["status"] == "succeeded"


def test_a_pause_stops_all_partitions(house: House) -> None:
    post(house, "/v1/queues/default/pause")
    ids = put(house, "double", 12)
    assert get(house, "/v1/stats")["due"] == 12
    assert {get(house, f"/v1/jobs/{job_id}")["waiting"]["code"] for job_id in ids} == {"queue_paused"}
    post(house, "/v1/queues/default/resume")
    for job_id in ids:
        assert house.ended({"id": job_id})["status"] == "succeeded"


def test_a_stream_has_the_changes_of_all_and_goes_on_after_its_last_event(house: House) -> None:
    url, seen, last = f"{house.url}/v1/events", set[str](), ""
    with house.http.stream("GET", url, params={"status": "succeeded"}) as events:
        lines = events.iter_lines()
        assert next(lines) == ": watching"
        ids = put(house, "double", 10)
        for line in lines:
            last = line.removeprefix("id: ") if line.startswith("id: ") else last
            seen |= {json.loads(line.removeprefix("data: "))["id"]} if line.startswith("data: ") else set()
            if len(seen) == 4 and not line:
                break
    assert last.count("@default") == PARTITIONS
    later = put(house, "double", 5)
    missing = {*ids, *later} - seen
    with house.http.stream("GET", url, params={"status": "succeeded"}, headers={"Last-Event-ID": last}) as events:
        for line in events.iter_lines():
            assert line != "event: missed"
            missing -= {json.loads(line.removeprefix("data: "))["id"]} if line.startswith("data: ") else set()
            if not missing:
                break
    for job_id in later:
        with house.http.stream("GET", f"{house.url}/v1/jobs/{job_id}/events") as events:
            assert any(line == "event: succeeded" for line in events.iter_lines())
        waited = house.post("/v1/jobs/double", 200, json={"number": 4}, headers={"Prefer": "wait=30"})
        assert waited["result"] == 8


def test_a_program_without_a_loop_puts_waits_for_and_cancels_jobs_of_all_partitions(
    house: House, cluster: Cluster
) -> None:
    url = house.environment["REDIS_URL"]
    settings = make_settings(house.data_dir, redis_url=url, queue_partitions=PARTITIONS)
    with SyncClient(settings) as client:
        jobs = [client.enqueue("double", {"number": number}) for number in range(12)]
        together = client.enqueue_many("double", [{"number": number} for number in range(12, 15)])
        assert [job.result(timeout_s=NEVER_S) for job in (*jobs, *together)] == [2 * number for number in range(15)]
        assert {partitions_with(cluster, keys.result(job.id)) for job in jobs} == {1}
        assert len({partition_of(cluster, keys.result(job.id)) for job in jobs}) == PARTITIONS
        assert [update.status for update in jobs[0].events()][-1] == "succeeded"
        # in whichever partition an id lies, another program finds it
        later = [client.options(delay="2h").enqueue("double", {"number": 0}) for _ in range(6)]
        assert {client.job(job.id).cancel() for job in later} == {"cancelled"}
        assert {get(house, f"/v1/jobs/{job.id}")["status"] for job in later} == {"cancelled"}


def test_an_event_reaches_all_endpoints_and_an_ordered_one_in_order(house: House) -> None:
    for name in ("in-order", "at-once"):
        definition = {
            "url": f"http://127.0.0.1:{house.sink_port}/",
            "events": ["merged.*"],
            "ordered": name == "in-order",
        }
        answer = house.http.put(f"{house.url}/v1/webhook-endpoints/{name}", json=definition)
        assert answer.status_code in (200, 201), answer.text
    events = [post(house, "/v1/webhook-events", event="merged.number", data=number) for number in range(12)]
    deliveries = [house.ended({"id": one["job_id"]}) for event in events for one in event["deliveries"]]
    assert [job["status"] for job in deliveries] == ["succeeded"] * 24
    in_order = [job for job in deliveries if job["args"]["endpoint_id"] == "in-order"]
    assert [job["args"]["data"] for job in in_order] == list(range(12))
    ends = [job["attempts"][-1]["ended_at"] for job in in_order]
    assert ends == sorted(ends)


def test_pages_doctor_top_and_health_look_at_all_partitions(house: House, cluster: Cluster) -> None:
    ids = put(house, "double", 6, delay="2h")
    for path in ("", "/jobs", "/dead-jobs", "/queues", "/workers", "/schedules"):
        assert house.http.get(f"{house.url}/dashboard{path}").status_code == 200, path
    found = house.http.get(f"{house.url}/dashboard/jobs", params={"status": "deferred"}).text
    assert all(job_id in found for job_id in ids)
    house.start("errand", "doctor").wait()
    said = house.log("errand").read_text()
    for number in range(PARTITIONS):
        slot = Tag("merged", number).slot
        node = cluster.owner(slot).server.place
        assert re.search(rf"partition {number}: .*its jobs are in slot {slot}, on {node}", said), said
    assert "queues served" in said
    assert "cluster-require-full-coverage no" in said  # these nodes have the default
    assert house.start("errand", "health", "worker").wait() == 0
    assert house.start("errand", "top", "--once", COLUMNS="200").wait() == 0
    assert all(job_id in house.log("errand").read_text() for job_id in ids)
