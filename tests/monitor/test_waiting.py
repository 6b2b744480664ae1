"""Why a job waits: each of the reasons, seen through the API of a real house."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.job.context import Context
from errand.job.control import Retry
from errand.job.job_type import job
from errand.job.retry_policy import Delays
from errand.job.schedule import job_id_of
from errand.leases.leases import Leases
from errand.queue.queue import Queue
from errand.wire import keys
from errand.wire.worker_report import WorkerReport
from tests.conftest import RunWorker
from tests.http.routes.test_queues import Held
from tests.waiting import eventually
from tests.worker.test_worker_engine import Nothing

QUEUE = keys.queue(keys.DEFAULT_QUEUE)


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def shown(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    view: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}")).json()
    return view


async def reason(client: httpx.AsyncClient, job_id: str, code: str) -> dict[str, Any]:
    """What the job says, once it says that."""

    async def said() -> dict[str, Any] | None:
        waiting: dict[str, Any] | None = (await shown(client, job_id))["waiting"]
        return waiting if waiting and waiting["code"] == code else None

    return await eventually(said)


async def test_a_job_for_later_says_until_when(client: httpx.AsyncClient, queue: Queue) -> None:
    put = await queue.enqueue("any", {}, delay_ms=3_600_000)
    view = await shown(client, put.job_id)
    assert (view["waiting"]["code"], view["waiting"]["until"]) == ("delayed", view["run_at"])
    assert view["run_at"][:19] in view["waiting"]["detail"]


async def test_a_job_of_a_schedule_names_it(client: httpx.AsyncClient, queue: Queue) -> None:
    job_id = job_id_of("nightly", 1_795_215_011_000)
    await queue.enqueue("any", {}, job_id=job_id, delay_ms=3_600_000)
    assert "'nightly'" in (await reason(client, job_id, "scheduled"))["detail"]


@pytest.mark.parametrize(("after_s", "code"), [(None, "retrying"), (600.0, "asked_to_wait")])
async def test_a_job_that_failed_names_its_error_and_whether_it_asked_for_the_wait(
    client: httpx.AsyncClient, queue: Queue, run_worker: RunWorker, after_s: float | None, code: str
) -> None:
    @job(retry=Delays([300]))
    async def flaky(ctx: Context, args: Nothing) -> None:
        raise Retry("the receiver answered 503", after_s=after_s)

    async with run_worker([flaky]):
        put = await queue.enqueue("flaky", {})
        waiting = await reason(client, put.job_id, code)
    assert "Retry: the receiver answered 503" in waiting["detail"] and waiting["until"] is not None


async def test_a_paused_queue_is_the_reason_of_its_due_jobs(client: httpx.AsyncClient, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    await client.post("/v1/queues/default/pause")
    assert "'default' is paused" in (await reason(client, put.job_id, "queue_paused"))["detail"]


async def test_a_queue_without_a_live_worker_is_the_reason(
    client: httpx.AsyncClient, queue: Queue, redis: ArqRedis
) -> None:
    put = await queue.enqueue("any", {})
    seconds, _ = await redis.time()
    await redis.zadd(keys.workers(QUEUE), {"killed-last-minute": (int(seconds) - 60) * 1000})
    assert "'default'" in (await reason(client, put.job_id, "no_worker"))["detail"]


async def test_a_worker_that_drains_serves_nothing_more(
    client: httpx.AsyncClient, queue: Queue, redis: ArqRedis
) -> None:
    put = await queue.enqueue("any", {})
    draining = WorkerReport(draining=True, types=["any"]).as_json()
    await Leases(redis, queue=QUEUE, worker="one", lease_s=10).renew({}, {}, report=draining)
    assert "draining" in (await reason(client, put.job_id, "no_worker"))["detail"]


async def test_a_type_that_no_live_worker_knows_is_named(
    client: httpx.AsyncClient, queue: Queue, redis: ArqRedis
) -> None:
    put = await queue.enqueue("fax", {})
    report = WorkerReport(slots=5, types=["webhook"]).as_json()
    await Leases(redis, queue=QUEUE, worker="one", lease_s=10).renew({}, {}, report=report)
    assert "'fax'" in (await reason(client, put.job_id, "type_unknown"))["detail"]


@pytest.mark.parametrize("report", [b"", b"{", b'{"slots": "many"}', b'{"from": "the future"}'])
async def test_a_worker_that_reports_no_types_is_taken_to_know_them_all(
    client: httpx.AsyncClient, queue: Queue, redis: ArqRedis, report: bytes
) -> None:
    put = await queue.enqueue("any", {})
    await Leases(redis, queue=QUEUE, worker="one", lease_s=10).renew({}, {}, report=report)
    assert (await reason(client, put.job_id, "due"))["until"] is None


async def test_workers_whose_slots_are_all_taken_are_the_reason(
    client: httpx.AsyncClient, queue: Queue, run_worker: RunWorker
) -> None:
    held = Held()
    async with run_worker([held.job_type], max_jobs=2):
        running = [await queue.enqueue("held", {}) for _ in range(2)]
        for one in running:

            async def runs(job_id: str = one.job_id) -> bool:
                return bool((await shown(client, job_id))["status"] == "in_progress")

            await eventually(runs)
        put = await queue.enqueue("held", {})
        assert "2 of 2" in (await reason(client, put.job_id, "workers_busy"))["detail"]
        assert (await shown(client, running[0].job_id))["waiting"] is None, "it runs"
        held.go_on.set()
        ended = await client.get(f"/v1/jobs/{put.job_id}", params={"wait": 10})
        assert (ended.json()["status"], ended.json()["waiting"]) == ("succeeded", None)


async def test_one_more_round_trip_is_made_for_due_jobs_alone(
    client: httpx.AsyncClient, queue: Queue, redis: ArqRedis
) -> None:
    later, now = await queue.enqueue("any", {}, delay_ms=60_000), await queue.enqueue("any", {})

    async def calls(job_id: str) -> int:
        """The fewest of some: the service looks at its Redis in the background as well."""
        seen = []
        for _ in range(10):
            before = (await redis.info("stats"))["total_reads_processed"]
            await client.get(f"/v1/jobs/{job_id}")
            seen.append(int((await redis.info("stats"))["total_reads_processed"] - before))
        return min(seen)

    await asyncio.gather(shown(client, later.job_id), shown(client, now.job_id))
    assert (await calls(now.job_id)) - (await calls(later.job_id)) == 1


async def test_a_worker_that_stops_leaves_nothing_of_itself(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    held = Held()
    async with run_worker([held.job_type]) as worker:

        async def reported() -> bytes | None:
            return await redis.hget(keys.reports(QUEUE), worker.name)  # type: ignore[misc,no-any-return]  # both clients

        assert WorkerReport.read(await eventually(reported)).types == ["held"]
    assert await redis.exists(keys.reports(QUEUE), keys.workers(QUEUE)) == 0
