"""The worker under load and beside others: wake-ups, refills, lost leases, several workers, stock workers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import JobStatus
from arq.worker import Worker as StockWorker
from arq.worker import func
from pydantic import BaseModel

from errand.job.context import Context
from errand.job.job_type import JobType, job
from errand.leases.leases import Claimed, Leases
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.wire import codec, keys
from errand.worker.worker import Worker
from tests.conftest import running_worker
from tests.waiting import NEVER_S, eventually

QUEUE = keys.queue(keys.DEFAULT_QUEUE)

HOUR_S = 3600


class Nothing(BaseModel):
    pass


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


def noting(ran: list[str], *, pause_s: float = 0) -> JobType[Any, Any]:
    """A job type that notes the ids it ran."""

    @job()
    async def note(ctx: Context, args: Nothing) -> str:
        ran.append(ctx.job_id)
        await asyncio.sleep(pause_s)
        return "ours"

    return note


def holds(condition: Callable[[], bool]) -> Callable[[], Any]:
    async def look() -> bool:
        return condition()

    return look


async def test_an_idle_worker_is_woken_long_before_its_next_poll(redis_url: str, queue: Queue) -> None:
    ran: list[str] = []
    async with running_worker(redis_url, job_types=[noting(ran)], poll_delay=HOUR_S):
        for count in range(1, 21):
            await queue.enqueue("note", {})
            await eventually(holds(lambda count=count: len(ran) == count))  # type: ignore[misc]


async def test_a_deferred_job_begins_without_a_poll(redis: ArqRedis, redis_url: str, queue: Queue) -> None:
    ran: list[str] = []
    async with running_worker(redis_url, job_types=[noting(ran)], poll_delay=HOUR_S):
        far = await queue.enqueue("note", {}, delay_ms=60_000)
        near = await queue.enqueue("note", {}, delay_ms=300)
        await eventually(holds(lambda: bool(ran)))
        assert ran == [near.job_id]
        snapshot = await read_job(redis, near.job_id)
        assert snapshot is not None and snapshot.attempts[0].started_at_ms >= near.due_at_ms
        assert await redis.zscore(QUEUE, far.job_id) is not None


async def test_a_stock_producer_is_served_by_the_poll(redis: ArqRedis, redis_url: str) -> None:
    ran: list[str] = []
    async with running_worker(redis_url, job_types=[noting(ran)], poll_delay=0.1):
        await redis.enqueue_job("note")
        await eventually(holds(lambda: bool(ran)))


async def test_slots_are_filled_again_as_soon_as_they_are_free(redis_url: str, queue: Queue) -> None:
    running, most, done = 0, 0, 0

    @job()
    async def short(ctx: Context, args: Nothing) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        done += 1

    await queue.enqueue_many("short", [{}] * 200)
    async with running_worker(redis_url, job_types=[short], max_jobs=10, poll_delay=HOUR_S):
        await eventually(holds(lambda: done == 200))
    assert most == 10, "never more than its slots, and all of them used"


async def test_a_paused_queue_waits_and_a_resume_wakes_the_worker(
    redis: ArqRedis, redis_url: str, queue: Queue
) -> None:
    ran: list[str] = []
    await queue.pause()
    async with running_worker(redis_url, job_types=[noting(ran)], poll_delay=0.05):
        await queue.enqueue("note", {})
        await asyncio.sleep(0.3)
        assert ran == []
        await queue.resume()
        await eventually(holds(lambda: bool(ran)))


async def test_a_lost_lease_stops_the_attempt_and_its_outcome_is_dropped_and_counted(
    redis: ArqRedis, redis_url: str, queue: Queue
) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    @job()
    async def endless(ctx: Context, args: Nothing) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    put = await queue.enqueue("endless", {})
    async with running_worker(redis_url, job_types=[endless], lease_s=1):
        await asyncio.wait_for(started.wait(), 60)
        await redis.set(keys.lease(put.job_id), "another worker's")
        await asyncio.wait_for(stopped.wait(), 60)

        async def counted() -> bool:
            return bool(await redis.hget(keys.counters(QUEUE), "stale"))  # type: ignore[misc]  # redis-py's typing

        await eventually(counted)
    assert await redis.hget(keys.counters(QUEUE), "leases_lost") == b"1"  # type: ignore[misc]  # redis-py's typing
    assert await redis.get(keys.lease(put.job_id)) == b"another worker's"
    assert await redis.exists(keys.result(put.job_id)) == 0


async def given_again(redis: ArqRedis, queue: Queue, worker: Worker, job_id: str) -> None:
    """Returns when the worker has claimed a job again that it runs, as the lease has vanished."""
    before, lease = worker.tasks[job_id], await redis.get(keys.lease(job_id))

    async def has_claimed() -> bool:
        if await redis.get(keys.lease(job_id)) == lease:  # also if a heartbeat under way has renewed it since
            await redis.delete(keys.lease(job_id))
            await redis.zadd(QUEUE, {job_id: 0})
            await queue.enqueue("note", {})
        return worker.tasks[job_id] is not before

    await eventually(has_claimed)


async def test_a_job_given_again_to_the_worker_that_runs_it_never_runs_twice_in_it(
    redis: ArqRedis, redis_url: str, queue: Queue
) -> None:
    """Its lease has vanished, and a claim comes before the heartbeat that would notice."""
    seen: list[str] = []
    again = asyncio.Event()

    @job()
    async def endless(ctx: Context, args: Nothing) -> None:
        seen.append("started")
        if "stopped" in seen:
            again.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            seen.append("stopped")

    async with running_worker(redis_url, job_types=[endless, noting([])], lease_s=HOUR_S) as worker:
        put = await queue.enqueue("endless", {})
        await eventually(holds(lambda: bool(seen)))
        await given_again(redis, queue, worker, put.job_id)
        await asyncio.wait_for(again.wait(), NEVER_S)
        assert seen[:3] == ["started", "stopped", "started"]
    assert seen[3:] == ["stopped"], "the worker's end waits for it"


async def test_a_stopped_attempt_is_waited_for_however_often_its_job_is_given_again(
    redis: ArqRedis, redis_url: str, queue: Queue
) -> None:
    seen: list[str] = []
    cleaned = asyncio.Event()

    @job()
    async def cleans(ctx: Context, args: Nothing) -> None:
        seen.append("started")
        try:
            await asyncio.Event().wait()
        finally:
            await cleaned.wait()
            seen.append("ended")

    async def note_shutdown(ctx: dict[Any, Any]) -> None:
        seen.append("shut down")

    put = await queue.enqueue("cleans", {})
    types = [cleans, noting([])]
    async with running_worker(redis_url, job_types=types, lease_s=HOUR_S, on_shutdown=note_shutdown) as worker:
        await eventually(holds(lambda: bool(seen)))
        for _ in range(2):
            await given_again(redis, queue, worker, put.job_id)
        asyncio.get_running_loop().call_later(0.2, cleaned.set)
    assert seen == ["started", "ended", "shut down"]
    assert await redis.get(keys.tries(put.job_id)) == b"2", "the third claim was handed back, and used no try"


async def test_a_cancel_that_comes_while_an_earlier_attempt_ends_is_not_forgotten(
    redis: ArqRedis, redis_url: str, queue: Queue
) -> None:
    runs, cleaned = 0, asyncio.Event()

    @job()
    async def cleans(ctx: Context, args: Nothing) -> None:
        nonlocal runs
        runs += 1
        try:
            await asyncio.Event().wait()
        finally:
            await cleaned.wait()

    put = await queue.enqueue("cleans", {})
    async with running_worker(redis_url, job_types=[cleans, noting([])], lease_s=HOUR_S) as worker:
        await eventually(holds(lambda: runs == 1))
        await given_again(redis, queue, worker, put.job_id)
        assert await queue.cancel(put.job_id) == "cancelling"
        await eventually(holds(lambda: worker._executor._unstarted[put.job_id].cancelled))
        cleaned.set()
        await eventually(holds(lambda: put.job_id not in worker.tasks))
        done = await read_job(redis, put.job_id)
        assert done is not None and (done.status, runs) == ("cancelled", 1)


@pytest.mark.parametrize(("others", "most"), [(3, 20), (1, 10)])
async def test_a_claim_fills_all_slots_if_others_keep_redis_busy_and_half_of_them_if_not(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch, others: int, most: int
) -> None:
    ran: list[str] = []
    asked: list[int] = []
    claim = Leases.claim

    @job()
    async def at_once(ctx: Context, args: Nothing) -> None:
        ran.append(ctx.job_id)

    async def noted(leases: Leases, most: int) -> Claimed:
        asked.append(most)
        return await claim(leases, most)

    monkeypatch.setattr(Leases, "claim", noted)
    for number in range(others):
        await Leases(redis, queue=QUEUE, worker=f"other{number}", lease_s=60).renew({}, {})
    await queue.enqueue_many("at_once", [{}] * 200)
    async with running_worker(redis_url, job_types=[at_once], max_jobs=20):
        await eventually(holds(lambda: len(ran) == 200))
    assert len(set(ran)) == 200
    # the first one knows nothing of others yet, and slots whose outcomes are not written are not free
    assert max(asked) == most and asked.count(most) >= 5, asked


async def test_four_workers_share_a_queue_and_run_each_job_once(redis: ArqRedis, redis_url: str, queue: Queue) -> None:
    ran: list[str] = []
    put = await queue.enqueue_many("note", [{}] * 2000)
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(running_worker(redis_url, job_types=[noting(ran)], max_jobs=50))
            for _ in range(4)
        ]

        async def empty() -> bool:
            return not await redis.zcard(QUEUE)

        await eventually(empty)
    assert Counter(ran) == Counter(job.job_id for job in put)
    assert min(worker.jobs_complete for worker in workers) > 0


async def test_a_stock_worker_and_ours_share_thousands_of_jobs(redis: ArqRedis, redis_url: str, queue: Queue) -> None:
    ran: list[str] = []

    async def note(ctx: dict[str, Any]) -> str:
        ran.append(ctx["job_id"])
        return "stock"

    half = await queue.enqueue_many("note", [{}] * 2_700)
    others = [await redis.enqueue_job("note") for _ in range(300)]
    ids = [one.job_id for one in half] + [one.job_id for one in others if one is not None]
    pool = connect(redis_url, reply_timeout_s=NEVER_S)
    stock = StockWorker(
        [func(note, name="note")],
        redis_pool=pool,
        job_serializer=codec.dumps,
        job_deserializer=codec.loads,
        handle_signals=False,
        burst=True,  # it ends by itself when the queue is empty; a stock worker may miss a stop
        max_jobs=100,
        poll_delay=0.01,
    )
    running = asyncio.create_task(stock.async_run())
    await eventually(holds(lambda: len(ran) > 200))
    async with running_worker(redis_url, job_types=[noting(ran, pause_s=0.001)], max_jobs=20):

        async def empty() -> bool:
            return not await redis.zcard(QUEUE)

        await eventually(empty)
        await running
    await pool.aclose()
    assert Counter(ran) == Counter(ids), "each ran exactly once"
    records = await redis.mget([keys.result(job_id) for job_id in ids])
    assert {codec.loads(record)["r"] for record in records} == {"ours", "stock"}
    for job_id in (ids[0], ids[1_000], ids[-1]):
        snapshot = await read_job(redis, job_id)
        assert snapshot is not None and snapshot.status == "succeeded" and snapshot.result in ("ours", "stock")


async def test_a_stock_client_aborts_a_running_job_and_a_waiting_one(redis: ArqRedis, redis_url: str) -> None:
    started = asyncio.Event()

    @job()
    async def endless(ctx: Context, args: Nothing) -> None:
        started.set()
        await asyncio.Event().wait()

    running = await redis.enqueue_job("endless")
    later = await redis.enqueue_job("endless", _defer_by=3600)
    assert running is not None and later is not None
    async with running_worker(redis_url, job_types=[endless], allow_abort_jobs=True, poll_delay=0.1):
        await asyncio.wait_for(started.wait(), 60)
        assert await running.abort(timeout=60, poll_delay=0.05) is True
        assert await later.abort(timeout=60, poll_delay=0.05) is True
        assert await running.status() == JobStatus.complete
    for handle in (running, later):
        snapshot = await read_job(redis, handle.job_id)
        assert snapshot is not None and snapshot.status == "cancelled"


async def test_an_abort_of_an_unknown_id_does_not_hit_a_later_job_of_that_id(redis: ArqRedis, redis_url: str) -> None:
    """Stock Arq keeps such an abort and ends the job that comes later."""
    ran: list[str] = []
    await redis.zadd(keys.ABORT, {"later": int(time.time() * 1000) - 1000})
    handle = await redis.enqueue_job("note", _job_id="later")
    assert handle is not None
    async with running_worker(redis_url, job_types=[noting(ran, pause_s=1.2)], allow_abort_jobs=True, poll_delay=0.1):
        assert await handle.result(timeout=60, poll_delay=0.05) == "ours"


@pytest.mark.parametrize(
    "written",
    [("ZADD", keys.ABORT, 1, b"\xff"), ("ZADD", keys.ABORT, "inf", "x"), ("SET", keys.ABORT, "no set")],
    ids=["no text", "no time", "no set"],
)
async def test_aborts_that_another_program_has_written_keep_no_job_from_running(
    redis: ArqRedis, redis_url: str, written: tuple[Any, ...]
) -> None:
    await redis.execute_command(*written)  # type: ignore[no-untyped-call]
    handle = await redis.enqueue_job("note")
    assert handle is not None
    async with running_worker(redis_url, job_types=[noting([])], allow_abort_jobs=True, poll_delay=0.05):
        assert await handle.result(timeout=10, poll_delay=0.05) == "ours"
    assert await redis.exists(keys.ABORT) == 0


async def test_a_hook_that_raises_harms_only_its_job(redis: ArqRedis, redis_url: str) -> None:
    """Stock Arq's worker process dies of it."""

    async def plain(ctx: dict[str, Any]) -> str:
        return str(ctx["job_id"])

    async def on_job_start(ctx: dict[str, Any]) -> None:
        if ctx["job_id"] == "bad":
            raise ValueError("a hook's fault")

    await redis.enqueue_job("plain", _job_id="bad")
    good = await redis.enqueue_job("plain", _job_id="good")
    assert good is not None
    async with running_worker(redis_url, functions=[func(plain, name="plain")], on_job_start=on_job_start):
        assert await good.result(timeout=60, poll_delay=0.05) == "good"
    assert await redis.exists(keys.body("bad")) == 1, "kept: its lease runs out and it is claimed again"
