"""What other processes have left undone in a queue is done by a worker that looks for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import arq
import pytest
from arq.connections import ArqRedis
from arq.worker import func

from errand import DeadJob, on_dead
from errand.queue.new_job import step_of
from errand.queue.queue import Queue
from errand.queue.together import enqueue_together
from errand.redis.connection import connect
from errand.wire import flow, keys
from errand.wire.flow import HELD_MS, Flow, Needs, PlannedGroup, PlannedJob
from errand.worker.sweep import sweep
from tests.conftest import RunWorker
from tests.waiting import NEVER_S, eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import noting

QUEUE = keys.queue("default")


@asynccontextmanager
async def stock_worker(redis_url: str) -> AsyncIterator[None]:
    """One that knows nothing of jobs that wait for others."""

    async def stock(ctx: dict[str, Any], fails: bool = False) -> str:
        if fails:
            raise ValueError("so it was asked")
        return "of a stock worker"

    pool = connect(redis_url, reply_timeout_s=NEVER_S)
    worker = arq.Worker(
        [func(stock, name="stock", max_tries=1)],
        redis_pool=pool,
        queue_name=QUEUE,
        handle_signals=False,
        poll_delay=0.01,
        job_serializer=pool.job_serializer,
        job_deserializer=pool.job_deserializer,
    )
    running = asyncio.create_task(worker.async_run())
    try:
        yield
    finally:
        running.cancel()
        # a job whose end can be seen may still wait for the reply to its last call
        await asyncio.gather(running, *worker.tasks.values(), return_exceptions=True)
        await pool.aclose(close_connection_pool=True)


async def test_the_end_of_a_job_that_a_stock_worker_ran_reaches_those_that_wait_for_it(
    redis: ArqRedis, redis_url: str, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    queue = Queue(redis, ended_ttl_s=60)
    done = await queue.enqueue("stock", {})
    broken = await queue.enqueue("stock", {"fails": True})
    after = [
        await queue.enqueue("note", {}, flow=Flow(needs=Needs(jobs=((each.job_id, "default"),))))
        for each in (done, broken)
    ]
    first, second = (PlannedJob(id=name, type="nobodys", queue="default", delay_ms=3_600_000) for name in ("1", "2"))
    join = PlannedJob(id="join", type="note", queue="default")
    planned = flow.first_jobs([PlannedGroup(children=((first, second),), join=join)])
    await enqueue_together([(queue, step_of(job, its_flow)) for job, its_flow in planned])

    async with stock_worker(redis_url):
        for each in (done, broken):
            await ended(redis, each.job_id)
    waiting = [each.job_id for each in after]
    assert await redis.zmscore(QUEUE, waiting) == [HELD_MS] * 2, "nobody has reported the ends"

    monkeypatch.setattr(sweep, "EVERY_S", 0.02)
    async with run_worker([noting(ran)]):
        runs, refused = [await ended(redis, job_id) for job_id in waiting]
    assert (runs.status, ran) == ("succeeded", waiting[:1])
    assert refused.error is not None
    assert (refused.error.type, "so it was asked" in refused.error.message) == ("DependencyFailed", True)
    assert await redis.zscore(QUEUE, "join") == HELD_MS, "the last step of its chain is still to come"
    assert await redis.smembers(keys.needed(QUEUE)) == {b"2"}  # type: ignore[misc]


async def test_a_job_that_is_gone_without_a_result_keeps_none_waiting(
    redis: ArqRedis, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stock worker has run it, whose `keep_result` is shorter than the wait for a look."""
    ran: list[str] = []
    queue = Queue(redis, ended_ttl_s=60)
    gone = await queue.enqueue("stock", {})
    needs = Needs(jobs=((gone.job_id, "default"),))
    strict = await queue.enqueue("note", {}, flow=Flow(needs=needs))
    lax = await queue.enqueue("note", {}, flow=Flow(needs=replace(needs, run_after="all_ended")))
    await redis.delete(keys.body(gone.job_id))
    await redis.zrem(QUEUE, gone.job_id)

    monkeypatch.setattr(sweep, "EVERY_S", 0.02)
    async with run_worker([noting(ran)]):
        assert (await ended(redis, lax.job_id)).status == "succeeded"
        refused = await ended(redis, strict.job_id)
    assert refused.error is not None
    assert (refused.error.type, "is not known" in refused.error.message) == ("DependencyFailed", True)
    assert ran == [lax.job_id]
    assert await redis.exists(keys.needed(QUEUE), keys.needed_by(gone.job_id)) == 0


async def test_what_another_program_has_written_keeps_none_from_its_turn(
    redis: ArqRedis, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead: list[str] = []

    @on_dead()
    async def note(job: DeadJob) -> None:
        dead.append(job.job_id)

    queue = Queue(redis, ended_ttl_s=60)
    needed = await queue.enqueue("stock", {})
    after = await queue.enqueue("note", {}, flow=Flow(needs=Needs(jobs=((needed.job_id, "default"),))))
    await redis.zrem(QUEUE, needed.job_id)
    await redis.delete(keys.body(needed.job_id))
    await redis.set(keys.result(needed.job_id), b'{"s":true,"r":1,"f":"stock"}')
    failed = b'"s":false,"r":{"$error":{"type":"Fail","message":"no"}}'
    await redis.set(keys.result("dead"), b'{"f":"stock","k":{},"t":1,"et":1,%s}' % failed)
    await redis.set(keys.result("a-bare"), b"{%s}" % failed)
    await redis.set(keys.result("b-odd"), b'{"f":[],"k":[],"t":"x","et":1e300,%s}' % failed)
    odd = [b"a-bare", b"b-odd", b"c-\xff", b"d-hash"]
    await redis.set(b"arq:result:c-\xff", b'{"f":"stock","k":{},"t":1,"et":1,%s}' % failed)
    await redis.hset(keys.result("d-hash"), mapping={"no": "result"})  # type: ignore[misc]
    await redis.sadd(keys.needed(QUEUE), "d-hash", "e-hash")  # type: ignore[misc]
    await redis.hset(keys.result("e-hash"), mapping={"no": "result"})  # type: ignore[misc]
    await redis.zadd(keys.dead_hooks(QUEUE), dict.fromkeys([*odd, b"dead"], 1))
    monkeypatch.setattr(sweep, "EVERY_S", 0.02)
    ran: list[str] = []
    async with run_worker([noting(ran)], hooks=[note]):
        assert (await ended(redis, after.job_id)).status == "succeeded"
        await eventually(lambda: is_gone(redis, keys.dead_hooks(QUEUE)))
    assert dead == ["dead"]


async def is_gone(redis: ArqRedis, key: str) -> bool:
    return not await redis.exists(key)
