"""Cancelling a job that runs: its worker hears of it at once, and it ends whatever happens to the message."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from errand.job.context import Context
from errand.job.control import Retry
from errand.job.job_type import job
from errand.job.retry_policy import Delays
from errand.leases.leases import Claimed, Finish, Leases, Woken
from errand.queue.queue import Queue
from errand.resources.openers import process_pool
from errand.wire import keys
from errand.worker.executor import Executor
from tests.conftest import RunWorker
from tests.resources.computations import note_and_hang
from tests.resources.test_process_pool import Note, gone, process_of
from tests.waiting import eventually
from tests.worker.test_crashes import lapse
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing

QUEUE = keys.queue(keys.DEFAULT_QUEUE)


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


class Endless:
    """A job type that runs until it is cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()

        @job(retry=Delays([3600]))
        async def endless(ctx: Context, args: Nothing) -> None:
            self.started.set()
            await asyncio.Event().wait()

        self.job_type = endless


async def test_a_running_job_is_cancelled_long_before_the_next_heartbeat(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    for _ in range(3):
        endless = Endless()
        async with run_worker([endless.job_type], lease_s=3600):
            put = await queue.enqueue("endless", {})
            await endless.started.wait()
            assert await queue.cancel(put.job_id) == "cancelling"
            done = await ended(redis, put.job_id)
        assert (done.status, done.attempts[0].outcome) == ("cancelled", "cancelled")
    assert await redis.exists(keys.cancels(QUEUE)) == 0


async def test_a_cancel_that_comes_before_the_answer_to_the_claim_is_found_at_once(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless, heard = Endless(), asyncio.Event()
    claim, claim_when_woken, cancel = Leases.claim, Leases.claim_when_woken, Executor.cancel

    async def cancelled_meanwhile(claimed: Claimed | None) -> None:
        for one in claimed.claims if claimed else ():
            assert await queue.cancel(one.job_id) == "cancelling"
            await heard.wait()

    async def late_claim(self: Leases, most: int) -> Claimed:
        claimed = await claim(self, most)
        await cancelled_meanwhile(claimed)
        return claimed

    async def late_claim_when_woken(self: Leases, *arguments: Any, **options: Any) -> Woken:
        woken = await claim_when_woken(self, *arguments, **options)
        await cancelled_meanwhile(woken.claimed)
        return woken

    def hear(self: Executor, job_ids: Iterable[str]) -> None:
        cancel(self, job_ids)
        heard.set()

    monkeypatch.setattr(Leases, "claim", late_claim)
    monkeypatch.setattr(Leases, "claim_when_woken", late_claim_when_woken)
    monkeypatch.setattr(Executor, "cancel", hear)
    async with run_worker([endless.job_type], lease_s=3600):
        put = await queue.enqueue("endless", {})
        done = await ended(redis, put.job_id)
    assert (done.status, endless.started.is_set()) == ("cancelled", False)


async def test_a_cancel_is_found_when_the_subscription_is_back(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    endless = Endless()
    async with run_worker([endless.job_type], lease_s=3600) as worker:
        put = await queue.enqueue("endless", {})
        await endless.started.wait()
        await worker._cancel_calls.close()
        assert await queue.cancel(put.job_id) == "cancelling"
        await worker._cancel_calls.listen()
        assert (await ended(redis, put.job_id)).status == "cancelled"


async def test_a_cancel_that_comes_while_subscription_and_claim_are_under_way_is_found_at_once(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless, claim = Endless(), Leases.claim
    listening = asyncio.Event()

    async def late_claim(self: Leases, most: int) -> Claimed:
        claimed = await claim(self, most)
        if claimed.claims and not listening.is_set():
            await worker._cancel_calls.close()
            assert await queue.cancel(claimed.claims[0].job_id) == "cancelling"
            monkeypatch.setattr(worker._cancel_calls._subscription, "_started", heard)
            await worker._cancel_calls.listen()
            await listening.wait()
        return claimed

    def heard() -> None:
        worker._look_for_cancels()
        listening.set()

    monkeypatch.setattr(Leases, "claim", late_claim)
    put = await queue.enqueue("endless", {})
    async with run_worker([endless.job_type], lease_s=3600) as worker:
        done = await ended(redis, put.job_id)
    assert (done.status, endless.started.is_set()) == ("cancelled", False)


async def test_a_worker_that_missed_the_message_hears_of_it_by_its_heartbeat(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    endless = Endless()
    async with run_worker([endless.job_type], lease_s=0.6) as worker:
        await worker._cancel_calls.close()
        put = await queue.enqueue("endless", {})
        await asyncio.wait_for(endless.started.wait(), 60)
        await queue.cancel(put.job_id)
        assert (await ended(redis, put.job_id)).status == "cancelled"


async def test_where_one_worker_after_the_other_dies_it_is_still_to_be_cancelled(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    await Leases(redis, queue=QUEUE, worker="dies", lease_s=10).claim(1)
    assert await queue.cancel(put.job_id) == "cancelling"
    for name in ("dies too", "lives"):
        await lapse(redis, [put.job_id])
        worker = Leases(redis, queue=QUEUE, worker=name, lease_s=10)
        (claim,) = (await worker.claim(1)).claims
        assert claim.cancelled
        assert (await worker.renew({put.job_id: claim.token}, {})).to_cancel == [put.job_id]


async def test_a_cancel_is_no_matter_of_a_later_job_of_that_id(redis: ArqRedis, queue: Queue) -> None:
    worker = Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    await queue.enqueue("any", {}, job_id="a")
    await worker.claim(1)
    assert await queue.cancel("a") == "cancelling"
    await redis.delete(keys.lease("a"))
    assert await queue.cancel("a") == "cancelled", "the worker has died, and nobody runs it"
    assert await redis.exists(keys.cancels(QUEUE)) == 0
    assert await queue.forget("a")
    await queue.enqueue("any", {}, job_id="a")
    (claim,) = (await worker.claim(1)).claims
    await worker.finish([claim.handed_back()])
    assert [claim.cancelled for claim in (await worker.claim(1)).claims] == [False]


async def test_a_job_whose_worker_was_lost_is_cancelled_and_shows_the_attempt(redis: ArqRedis, queue: Queue) -> None:
    """The worker may be paused alone, and come to the job's effect when it goes on: the record must not deny that."""
    put = await queue.enqueue("any", {})
    await Leases(redis, queue=QUEUE, worker="paused", lease_s=10).claim(1)
    await redis.delete(keys.lease(put.job_id))
    assert await queue.cancel(put.job_id) == "cancelled"
    done = await ended(redis, put.job_id)
    assert [(attempt.outcome, attempt.worker, attempt.number) for attempt in done.attempts] == [("lost", "paused", 1)]
    assert done.error is not None and "lost" in done.error.message


async def test_a_job_whose_lease_outlives_its_attempt_is_cancelled_at_once(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    worker = Leases(redis, queue=QUEUE, worker="one", lease_s=10)
    (claim,) = (await worker.claim(1)).claims
    again = Finish(job_id=put.job_id, token=claim.token, status="queued", due_in_ms=0, keep_lease_ms=60_000)
    await worker.finish([again])
    assert await queue.cancel(put.job_id) == "cancelled"


async def test_where_the_owner_has_died_the_next_claim_ends_it(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    endless = Endless()
    put = await queue.enqueue("endless", {})
    await Leases(redis, queue=QUEUE, worker="dies", lease_s=10).claim(1)
    assert await queue.cancel(put.job_id) == "cancelling"
    await lapse(redis, [put.job_id])
    async with run_worker([endless.job_type]):
        done = await ended(redis, put.job_id)
    assert (done.status, endless.started.is_set()) == ("cancelled", False)
    assert await redis.exists(keys.cancels(QUEUE)) == 0


async def test_a_job_that_fails_before_it_hears_of_it_is_not_tried_again(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @job(retry=Delays([3600]))
    async def deaf(ctx: Context, args: Nothing) -> None:
        started.set()
        await go_on.wait()
        raise Retry

    async with run_worker([deaf], lease_s=3600) as worker:
        await worker._cancel_calls.close()
        put = await queue.enqueue("deaf", {})
        await asyncio.wait_for(started.wait(), 60)
        await queue.cancel(put.job_id)
        go_on.set()
        done = await ended(redis, put.job_id)
    assert (done.status, len(done.attempts)) == ("cancelled", 1)


async def test_a_cancel_does_not_meet_a_later_job_of_that_id(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job()
    async def quick(ctx: Context, args: Nothing) -> None: ...

    await queue.enqueue("quick", {}, job_id="again")
    (claim,) = (await Leases(redis, queue=QUEUE, worker="dies", lease_s=10).claim(1)).claims
    await queue.cancel(claim.job_id)
    # its story ends elsewhere, as with a stock worker that knows nothing of the mark
    await redis.delete(keys.lease("again"), keys.body("again"), keys.tries("again"))
    await redis.zrem(QUEUE, "again")
    await redis.hdel(keys.running(QUEUE), "again")  # type: ignore[misc]  # redis-py types both its clients
    await queue.enqueue("quick", {}, job_id="again")
    async with run_worker([quick]):
        assert (await ended(redis, "again")).status == "succeeded"


async def test_the_process_of_a_cancelled_computation_ends(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, tmp_path: Path
) -> None:
    @job(uses=[process_pool])
    async def computing(ctx: Context, args: Note) -> None:
        await ctx.use(process_pool).run(600, note_and_hang, args.path)

    async with run_worker([computing]):
        put = await queue.enqueue("computing", {"path": str(tmp_path / "note")})
        pid = await process_of(tmp_path / "note")
        await queue.cancel(put.job_id)
        assert (await ended(redis, put.job_id)).status == "cancelled"
        await gone(pid)


async def test_a_job_that_a_stock_worker_runs_is_aborted_its_way(redis: ArqRedis, queue: Queue) -> None:
    put = await queue.enqueue("any", {})
    await redis.set(keys.lease(put.job_id), "1")
    assert await queue.cancel(put.job_id) == "cancelling"
    assert await redis.zscore(keys.ABORT, put.job_id) is not None


async def test_a_stop_hands_back_what_was_claimed_and_had_no_turn_yet(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    endless = Endless()
    async with run_worker([endless.job_type]) as worker:
        start = worker._executor.start

        def start_and_stop(claimed: object) -> None:
            start(claimed)  # type: ignore[arg-type]
            worker.handle_sig(15)  # type: ignore[arg-type]

        worker._executor.start = start_and_stop  # type: ignore[method-assign]
        put = await queue.enqueue("endless", {})

        async def handed_back() -> bool:
            return await redis.get(keys.tries(put.job_id)) == b"0" and not await redis.exists(keys.lease(put.job_id))

        await eventually(handed_back)
    assert not endless.started.is_set()
