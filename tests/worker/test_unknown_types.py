"""Jobs of types that a worker does not know: they lose no try, and wait for a worker that knows them."""

from __future__ import annotations

from typing import Any

import pytest
from arq.connections import ArqRedis

from errand.job.context import Context
from errand.job.job_type import job
from errand.leases.fleet import FleetView
from errand.leases.leases import Claim, Finish, Leases
from errand.leases.parked import Parked
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.monitor.waiting import why_waiting
from errand.queue.queue import Queue
from errand.wire import keys
from errand.wire.limits import JobLimits, KeptLimits
from errand.worker.runners import unknown_type
from errand.worker.runners.claimed_job import ClaimedJob
from errand.worker.runners.parking import MAX_TYPES, Parking
from tests.conftest import running_worker
from tests.waiting import NEVER_S, eventually
from tests.worker.test_worker import Note, ended
from tests.worker.test_worker_engine import holds, noting

QUEUE = keys.queue(keys.DEFAULT_QUEUE)

PARKED = keys.parked(QUEUE, "note")

QUICK: dict[str, Any] = {"poll_delay": 0.05}


@job()
async def other(ctx: Context, args: Note) -> str:
    return args.text


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


@pytest.fixture
def never_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parked jobs run because a worker comes for them, not because their time comes."""
    monkeypatch.setattr(unknown_type, "FIRST_WAIT_S", 3600)


async def parked(redis: ArqRedis, *job_ids: str) -> None:
    """Returns when all these jobs are parked."""

    async def look() -> bool:
        return None not in [await redis.zscore(PARKED, job_id) for job_id in job_ids]

    await eventually(look)


async def snapshot(redis: ArqRedis, job_id: str) -> JobSnapshot:
    job = await read_job(redis, job_id)
    assert job is not None
    return job


async def test_a_worker_that_lacks_the_type_costs_its_jobs_nothing(
    redis: ArqRedis, redis_url: str, queue: Queue, never_due: None
) -> None:
    ran: list[str] = []
    async with (
        running_worker(redis_url, job_types=[other], **QUICK) as lacking,
        running_worker(redis_url, job_types=[noting(ran)], max_jobs=10, **QUICK),
    ):
        put = [job.job_id for job in await queue.enqueue_many("note", [{}] * 200)]
        await eventually(holds(lambda: len(ran) == 200))
        done = [await ended(redis, job_id) for job_id in put]
        assert lacking.jobs_retried > 0, "it took some"
    assert {(job.status, job.attempt, len(job.attempts)) for job in done} == {("succeeded", 1, 1)}
    assert await redis.exists(PARKED) == 0


async def test_a_job_of_a_type_that_nobody_knows_waits_for_a_worker_that_does(
    redis: ArqRedis, redis_url: str, queue: Queue, never_due: None
) -> None:
    ran: list[str] = []
    put = [job.job_id for job in await queue.enqueue_many("note", [{}] * 50)]
    async with running_worker(redis_url, job_types=[other], **QUICK):
        await parked(redis, *put)
        waiting = await snapshot(redis, put[0])
        why = await why_waiting(redis, waiting, silent_s=10)
        assert (
            why is not None and why.code == "type_unknown" and "'note'" in why.detail and "JOB_PACKAGES" in why.detail
        )
        assert (waiting.status, waiting.tries, waiting.attempts) == ("deferred", 0, ())
        async with running_worker(redis_url, job_types=[noting(ran)], max_jobs=4, **QUICK):
            done = [await ended(redis, job_id) for job_id in put]
    assert {(job.status, job.attempt, len(job.attempts)) for job in done} == {("succeeded", 1, 1)}
    left = {key for key in await redis.keys("*") if any(key.endswith(job_id.encode()) for job_id in put)}
    assert left == {keys.result(job_id).encode() for job_id in put}


async def test_what_became_of_a_parked_job_meanwhile_counts(
    redis: ArqRedis, redis_url: str, queue: Queue, never_due: None
) -> None:
    ran: list[str] = []
    cancelled, moved, kept = [job.job_id for job in await queue.enqueue_many("note", [{}] * 3)]
    async with running_worker(redis_url, job_types=[other], **QUICK):
        await parked(redis, cancelled, moved, kept)
    assert await queue.cancel(cancelled) == "cancelled"
    assert await queue.reschedule(moved, delay_ms=7_200_000) == "rescheduled"
    later_ms = await redis.zscore(QUEUE, moved)
    await redis.zadd(PARKED, {"never-was": later_ms})
    async with running_worker(redis_url, job_types=[noting(ran)], **QUICK):
        await ended(redis, kept)
    assert ran == [kept] and (await snapshot(redis, cancelled)).status == "cancelled"
    assert await redis.zscore(QUEUE, moved) == later_ms and await redis.zscore(QUEUE, "never-was") is None
    assert await redis.exists(PARKED) == 0, "entries that mean nothing any more are removed"


async def test_a_parked_job_is_due_again_by_itself(
    redis: ArqRedis, redis_url: str, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stock worker, which reports nothing and comes for nothing, may know the type."""
    monkeypatch.setattr(unknown_type, "FIRST_WAIT_S", 0.05)
    put = await queue.enqueue("note", {})
    async with running_worker(redis_url, job_types=[other], **QUICK) as worker:
        await eventually(holds(lambda: worker.jobs_retried >= 3))
    job = await snapshot(redis, put.job_id)
    assert (job.ended, job.tries, job.attempts) == (False, 0, ())


async def test_a_paused_queue_keeps_parked_jobs_where_they_are(
    redis: ArqRedis, redis_url: str, queue: Queue, never_due: None
) -> None:
    ran: list[str] = []
    put = await queue.enqueue("note", {})
    async with running_worker(redis_url, job_types=[other], **QUICK):
        await parked(redis, put.job_id)
    await queue.pause()
    async with running_worker(redis_url, job_types=[noting(ran)], **QUICK) as worker:
        looks_s = worker._parked._next_look_s
        await eventually(holds(lambda: worker._parked._next_look_s > looks_s))
        assert await redis.zscore(PARKED, put.job_id) is not None
        await queue.resume()
        await eventually(holds(lambda: bool(ran)))


async def test_a_parked_job_whose_time_to_begin_has_passed_fails(
    redis: ArqRedis, redis_url: str, queue: Queue, never_due: None
) -> None:
    put = await queue.enqueue("note", {}, limits=JobLimits(expires_in_ms=1500))
    async with running_worker(redis_url, job_types=[other], **QUICK):
        done = await ended(redis, put.job_id)
    assert done.status == "failed" and done.error is not None and done.error.type == "Expired"


async def test_a_burst_ends_when_only_types_that_it_does_not_know_are_left(
    redis: ArqRedis, redis_url: str, queue: Queue, never_due: None
) -> None:
    known, unknown = await queue.enqueue("other", {}), await queue.enqueue("note", {})
    async with running_worker(redis_url, job_types=[other], burst=True, **QUICK) as worker:
        assert worker.main_task is None or not worker.main_task.done()
        assert (await ended(redis, known.job_id)).status == "succeeded"
        await eventually(holds(lambda: worker.main_task is not None and worker.main_task.done()))
    assert not (await snapshot(redis, unknown.job_id)).ended


@pytest.mark.parametrize("name", ["a:b c", "x" * 10_000, "naïve\nfax"])
async def test_any_name_of_a_function_is_parked_and_others_run(
    redis: ArqRedis, redis_url: str, queue: Queue, never_due: None, name: str
) -> None:
    odd = await redis.enqueue_job(name, _job_id="odd")
    await redis.set(keys.parked(QUEUE, name), "another program's")
    put = await queue.enqueue("other", {})
    assert odd is not None
    async with running_worker(redis_url, job_types=[other], **QUICK):
        assert (await ended(redis, put.job_id)).status == "succeeded"

        async def is_parked() -> bool:
            return bool(await redis.type(keys.parked(QUEUE, name)) == b"zset")

        await eventually(is_parked)
    assert not (await snapshot(redis, "odd")).ended
    assert keys.type_in_key("\ud800") == "%3F", "half a surrogate has no other form"


def test_the_more_jobs_there_are_the_later_each_is_due_again() -> None:
    def wait_s(job: ClaimedJob, seen: FleetView | None, *, known: bool = False) -> float:
        return unknown_type._wait_s(job, unknown_type._longest_wait_s(job, seen, known=known))

    young = ClaimedJob(Claim("1", 0, 1, b"", [], False, ""), enqueued_at_ms=2**52)
    waits_s = [wait_s(young, FleetView([], jobs)) for jobs in (1, 10_000, 10**6)]
    assert waits_s[0] <= 2 and 25 <= waits_s[1] <= 50 and 1800 <= waits_s[2] <= 3600
    expiring = ClaimedJob(young.claim, enqueued_at_ms=2**52, limits=KeptLimits(expires_at_ms=500))
    assert wait_s(expiring, None, known=True) == 0.5
    assert wait_s(ClaimedJob(young.claim), None) > NEVER_S, "a job of long ago, rarely"


async def test_many_of_a_type_that_nobody_knows_are_parked_without_being_claimed(
    redis: ArqRedis, redis_url: str, queue: Queue, never_due: None
) -> None:
    put = [job.job_id for job in await queue.enqueue_many("note", [{}] * 2000)]
    behind = await queue.enqueue("other", {})
    async with running_worker(redis_url, job_types=[other], max_jobs=10, **QUICK) as worker:
        await ended(redis, behind.job_id)
        await eventually(lambda: _are_parked(redis, len(put)))
        assert worker.jobs_retried < 1000
        one = await snapshot(redis, put[-1])
        why = await why_waiting(redis, one, silent_s=10)
    assert why is not None and (one.status, one.tries, why.code) == ("deferred", 0, "type_unknown")
    assert await queue.cancel(put[-1]) == "cancelled"


async def _are_parked(redis: ArqRedis, number: int) -> bool:
    return bool(await redis.zcard(PARKED) == number)


async def test_jobs_that_are_parked_for_long_are_due_again_ten_times_a_second_and_others_to_the_millisecond(
    redis: ArqRedis, queue: Queue
) -> None:
    await queue.enqueue_many("note", [{}] * 8)
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    claims = (await leases.claim(8)).claims
    waits_ms = [60_000 + 13 * number for number in range(7)] + [9_000]
    await leases.finish(
        Finish(
            job_id=claim.job_id, token=claim.token, status="deferred", due_in_ms=wait_ms, put_back=b"{}", parked="note"
        )
        for claim, wait_ms in zip(claims, waits_ms, strict=True)
    )
    scores = [score or 0 for score in await redis.zmscore(QUEUE, [claim.job_id for claim in claims])]
    assert scores == await redis.zmscore(PARKED, [claim.job_id for claim in claims])
    assert {score % 100 for score in scores[:7]} == {0}
    assert len(set(scores[:7])) <= 2 and scores[0] - scores[7] in range(50_900, 51_001)


async def test_only_waiting_jobs_of_that_type_that_may_begin_at_any_time_are_parked_so(
    redis: ArqRedis, queue: Queue
) -> None:
    """What else there is to do with a job the claim knows."""
    lost, held = [job.job_id for job in await queue.enqueue_many("note", [{}] * 2)]
    await Leases(redis, queue=QUEUE, worker="dies", lease_s=10).claim(2)
    await redis.delete(keys.lease(lost))
    for job_id in (lost, held):
        await redis.zadd(QUEUE, {job_id: 1})
    expiring = await queue.enqueue("note", {}, limits=JobLimits(expires_in_ms=60_000))
    await queue.enqueue("other", {})
    await queue.enqueue("note", {}, delay_ms=60_000)
    plain = await queue.enqueue("note", {"expires_at": 1})
    due_ms = dict(await redis.zrange(QUEUE, 0, -1, withscores=True))
    events = redis.pubsub(ignore_subscribe_messages=True)
    parking = Parked(redis, queue=QUEUE, types=(), look_s=1)
    async with events:
        await events.subscribe(keys.events(QUEUE))
        await events.get_message(timeout=60)
        assert await parking.park_due("note", wait_s=3600, note=b"{}") == (5, 1)
        assert (await events.get_message(timeout=60) or {})["data"] == f"deferred {plain.job_id}".encode()
    now = dict(await redis.zrange(QUEUE, 0, -1, withscores=True))
    moved = {job_id for job_id in now if now[job_id] != due_ms[job_id]}
    assert moved == {plain.job_id.encode()}
    assert now[plain.job_id.encode()] == await redis.zscore(PARKED, plain.job_id)
    assert 1_700_000 < now[plain.job_id.encode()] - plain.due_at_ms < 3_700_000
    assert now[plain.job_id.encode()] % 100 == 0, "together with others"
    assert await redis.exists(keys.put_back(plain.job_id)) and not await redis.exists(keys.put_back(expiring.job_id))
    await queue.pause()
    assert await parking.park_due("other", wait_s=3600, note=b"{}") == (0, 0)


async def test_a_type_for_each_job_costs_a_worker_no_memory(redis: ArqRedis) -> None:
    parking = Parking(Parked(redis, queue=QUEUE, types=(), look_s=1))
    for number in range(3 * MAX_TYPES):
        parking.meet(f"type-{number}", wait_s=1, note=b"{}")
    assert len(parking._met) <= MAX_TYPES
