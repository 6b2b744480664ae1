"""What a producer asks of one job, kept by real workers: ours, and stock Arq's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import arq
import pytest
from arq.connections import ArqRedis

from errand.dead_jobs.dead_jobs import DeadJobs
from errand.dead_jobs.replay import Replays
from errand.job.context import Context
from errand.job.job_type import job
from errand.job.retry_policy import Delays
from errand.leases.leases import Leases
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.queue.new_job import NewJob
from errand.queue.queue import Queue
from errand.queue.together import enqueue_together
from errand.wire import codec, keys
from errand.wire.limits import LATEST_MS, NO_LIMITS, JobLimits, KeptLimits
from tests.conftest import RunWorker
from tests.dying import QUEUE
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing


@job(max_tries=2, retry=Delays([0.01]))
async def counting(ctx: Context, args: Nothing) -> None:
    raise ValueError(f"{ctx.attempt} of {ctx.max_tries}")


@job()
async def quick(ctx: Context, args: Nothing) -> str:
    return "done"


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def seen(redis: ArqRedis, job_id: str) -> JobSnapshot:
    found = await read_job(redis, job_id)
    assert found is not None
    return found


@pytest.mark.parametrize("max_tries", [1, 2, 5])
async def test_a_job_is_tried_as_often_as_was_asked_of_it(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, max_tries: int
) -> None:
    put = await queue.enqueue("counting", {}, limits=JobLimits(max_tries=max_tries))
    assert (await seen(redis, put.job_id)).max_tries == max_tries
    async with run_worker([counting]):
        dead = await ended(redis, put.job_id)
    assert (dead.status, len(dead.attempts), dead.max_tries) == ("failed", max_tries, max_tries)
    assert dead.error is not None and dead.error.message == f"{max_tries} of {max_tries}"


async def test_tries_that_its_type_does_not_have_are_not_refused_at_the_claim(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    """A lost attempt is not followed by a decision: the next claim looks at the number of tries."""
    put = await queue.enqueue("quick", {}, limits=JobLimits(max_tries=50))
    await redis.set(keys.tries(put.job_id), 40)
    async with run_worker([quick]):
        assert (await ended(redis, put.job_id)).result == "done"


async def test_what_has_not_started_in_time_ends_dead_and_says_why(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    put = await queue.enqueue("quick", {}, limits=JobLimits(expires_in_ms=1, max_tries=7))
    await eventually(lambda: passed(redis, put.enqueued_at_ms + 1))
    async with run_worker([quick]):
        dead = await ended(redis, put.job_id)
    assert (dead.status, dead.attempts) == ("failed", ())
    assert dead.expires_at_ms == put.accepted_at_ms + 1
    assert dead.error is not None and dead.error.type == "Expired" and "expires_in" in dead.error.message
    replays = Replays(DeadJobs(redis, queues=[QUEUE], ttl_s=60))
    assert await replays.one(put.job_id, queue=QUEUE) == "replayed"
    again = await seen(redis, put.job_id)
    assert (again.expires_at_ms, again.max_tries) == (None, 7)
    async with run_worker([quick]):
        assert (await ended(redis, put.job_id)).result == "done"


async def test_what_has_started_in_time_is_tried_again_after_it(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    """By a worker that died, and by one that drained and gave its try back."""
    lost = await queue.enqueue("quick", {}, limits=JobLimits(expires_in_ms=1_000))
    drained = await queue.enqueue("quick", {}, limits=JobLimits(expires_in_ms=1_000))
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=0.05)
    claims = {claim.job_id: claim for claim in (await leases.claim(2)).claims}
    record = codec.dumps(
        {"number": 1, "due_at_ms": 1, "started_at_ms": 1, "worker": "one", "ended_at_ms": 1, "outcome": "handed_back"}
    )
    handed_back = claims[drained.job_id].handed_back()
    await leases.finish([replace(handed_back, attempt=record)])
    await eventually(lambda: passed(redis, drained.enqueued_at_ms + 1_000))
    async with run_worker([quick]):
        for put in (lost, drained):
            assert (await ended(redis, put.job_id)).result == "done"


async def test_what_a_stock_worker_has_started_in_time_is_tried_again_after_it(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    """It counts its try, and leaves no record of it."""
    put = await queue.enqueue("quick", {}, limits=JobLimits(expires_in_ms=1))
    await redis.incr(keys.tries(put.job_id))
    await eventually(lambda: passed(redis, put.enqueued_at_ms + 1))
    async with run_worker([quick]):
        assert (await ended(redis, put.job_id)).result == "done"


async def test_what_was_claimed_and_not_started_can_still_expire(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    put = await queue.enqueue("quick", {}, limits=JobLimits(expires_in_ms=100))
    leases = Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    await leases.finish([claim.handed_back() for claim in (await leases.claim(1)).claims])
    await eventually(lambda: passed(redis, put.enqueued_at_ms + 100))
    async with run_worker([quick]):
        assert (await ended(redis, put.job_id)).status == "failed"


async def test_a_job_with_time_left_runs(redis: ArqRedis, queue: Queue, run_worker: RunWorker) -> None:
    put = await queue.enqueue("quick", {}, limits=JobLimits(expires_in_ms=60_000))
    async with run_worker([quick]):
        assert (await ended(redis, put.job_id)).result == "done"


async def test_limits_are_kept_by_every_way_to_put_jobs_and_shown_of_cancelled_ones(
    redis: ArqRedis, queue: Queue
) -> None:
    limits, cpu = JobLimits(max_tries=3, expires_in_ms=60_000), Queue(redis, name="cpu", ended_ttl_s=60)
    many = await queue.enqueue_many("any", [{}, {}], limits=limits)
    jobs = [
        (to, NewJob(type_name="any", args={}, job_id=name, limits=limits)) for to, name in ((queue, "a"), (cpu, "b"))
    ]
    together = [*await enqueue_together(jobs), *await enqueue_together([(queue, NewJob(**ALONE))])]
    for put in [*many, *together]:
        assert put is not None
        found = await read_job(redis, put.job_id, queues=[queue.key, cpu.key])
        assert found is not None and found.max_tries == 3
        assert found.expires_at_ms == put.accepted_at_ms + 60_000
    await queue.cancel(many[0].job_id)
    assert (await seen(redis, many[0].job_id)).max_tries == 3


ALONE: dict[str, Any] = {
    "type_name": "any",
    "args": {},
    "job_id": "c",
    "limits": JobLimits(max_tries=3, expires_in_ms=60_000),
}


async def test_a_stock_worker_runs_such_a_job_as_any_other(redis: ArqRedis, queue: Queue) -> None:
    async def any(ctx: dict[str, Any]) -> str:
        return "by stock arq"

    put = await queue.enqueue("any", {}, limits=JobLimits(max_tries=1, expires_in_ms=60_000))
    worker = arq.Worker(
        [arq.func(any, name="any")],
        redis_pool=redis,
        job_serializer=codec.dumps,
        job_deserializer=codec.loads,
        burst=True,
        handle_signals=False,
        poll_delay=0.01,
    )
    await asyncio.wait_for(worker.async_run(), 60)
    assert (await seen(redis, put.job_id)).result == "by stock arq"


async def test_a_job_without_limits_carries_nothing_more(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    assert codec.loads(await redis.get(keys.body(put.job_id)) or b"").keys() == {"t", "f", "a", "k", "et"}


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"max_tries": "many", "expires_at": None},
        {"max_tries": 0},
        {"expires_at": True},
        {"expires_at": -1},
        *({"priority": odd} for odd in (0, 10, True, 1.0, "1", [1])),
    ],
)
def test_what_makes_no_sense_in_a_body_limits_nothing(record: dict[str, Any]) -> None:
    assert KeptLimits.of(record) == NO_LIMITS


@pytest.mark.parametrize("asked", [{"max_tries": 0}, {"max_tries": 101}, {"expires_in_ms": 0}])
def test_a_number_out_of_range_is_refused(asked: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"max_tries|expires_in"):
        JobLimits(**asked)


def test_no_job_expires_after_the_last_time_that_can_be_shown() -> None:
    assert JobLimits(expires_in_ms=10**12).kept(LATEST_MS - 1).expires_at_ms == LATEST_MS


async def passed(redis: ArqRedis, at_ms: int) -> bool:
    """By the server's clock."""
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000 >= at_ms
