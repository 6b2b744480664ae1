"""The worker and the ledger, against a real server: what is written of a job whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.jobs import Job, JobStatus
from arq.worker import func
from pydantic import BaseModel

from errand.job.context import Context
from errand.job.control import Cancel, Fail, Retry, Snooze
from errand.job.job_type import job
from errand.job.retry_policy import Delays
from errand.leases.leases import Renewed
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.monitor.queues import live_workers
from errand.monitor.waiting import why_waiting
from errand.queue.new_job import JobExists
from errand.queue.queue import Queue
from errand.wire import keys
from tests.conftest import RunWorker, running_worker
from tests.waiting import eventually


class Note(BaseModel):
    text: str = "hello"


class Strict(BaseModel):
    number: int


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def ended(redis: ArqRedis, job_id: str) -> JobSnapshot:
    """The job once it has ended."""

    async def look() -> JobSnapshot | None:
        snapshot = await read_job(redis, job_id)
        return snapshot if snapshot is not None and snapshot.ended else None

    return await eventually(look)


async def due_now(redis: ArqRedis, job_id: str, *, queue: str = keys.DEFAULT_QUEUE) -> None:
    """Makes a deferred job due, as if its time had come."""

    async def deferred() -> bool:
        snapshot = await read_job(redis, job_id, queues=[keys.queue(queue)])
        return snapshot is not None and snapshot.status == "deferred"

    await eventually(deferred)
    await redis.zadd(keys.queue(queue), {job_id: 1}, xx=True)


async def test_a_job_runs_and_its_attempt_is_recorded(redis: ArqRedis, queue: Queue, run_worker: RunWorker) -> None:
    @job()
    async def shout(ctx: Context, args: Note) -> str:
        return args.text.upper()

    put = await queue.enqueue("shout", {"text": "abc"})
    async with run_worker([shout]) as worker:
        done = await ended(redis, put.job_id)
    assert (done.status, done.result, done.args, done.attempt) == ("succeeded", "ABC", {"text": "abc"}, 1)
    (attempt,) = done.attempts
    assert (attempt.number, attempt.outcome, attempt.worker, attempt.error) == (1, "succeeded", worker.name, None)
    assert attempt.due_at_ms <= attempt.started_at_ms <= attempt.ended_at_ms


async def test_nothing_is_left_of_an_ended_job_but_its_outcome_which_expires(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job()
    async def quick(ctx: Context, args: Note) -> None:
        await ctx.progress(0.5, "half way")

    put = await queue.enqueue("quick", {})
    async with run_worker([quick], result_ttl_s=100):
        await ended(redis, put.job_id)
    index = keys.ended_index("arq:queue", "succeeded:quick")
    counted = tuple(name("arq:queue") for name in (keys.counters, keys.minutes, keys.day_counts))
    left = {key.decode() for key in await redis.keys("*") if not key.decode().startswith(counted)}
    assert left == {keys.result(put.job_id), index, keys.ended("arq:queue")}
    for key in (keys.result(put.job_id), index):
        assert 0 < await redis.ttl(key) <= 100, key


async def test_an_exception_retries_by_policy_until_the_tries_are_used_up(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job(max_tries=3, retry=Delays([60, 600], jitter=0))
    async def broken(ctx: Context, args: Note) -> None:
        raise ValueError(f"no {ctx.attempt}")

    put = await queue.enqueue("broken", {})
    async with run_worker([broken], dead_ttl_s=1000):
        await due_now(redis, put.job_id)
        await due_now(redis, put.job_id)
        dead = await ended(redis, put.job_id)
    assert [(attempt.number, attempt.outcome) for attempt in dead.attempts] == [
        (1, "retry"),
        (2, "retry"),
        (3, "failed"),
    ]
    waits_ms = [(attempt.next_attempt_at_ms or 0) - attempt.ended_at_ms for attempt in dead.attempts[:2]]
    assert waits_ms == [60_000, 600_000]
    assert dead.status == "failed"
    assert dead.error is not None and (dead.error.type, dead.error.message) == ("ValueError", "no 3")
    assert dead.error.traceback is not None and "broken" in dead.error.traceback
    assert 900 < await redis.ttl(keys.result(put.job_id)) <= 1000


async def test_an_attempt_that_blocked_the_loop_past_its_limit_has_timed_out(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    """Its deadline could not come while it ran."""

    @job(timeout_s=0.05, max_tries=1)
    async def blocking(ctx: Context, args: Note) -> str:
        time.sleep(0.1)  # noqa: ASYNC251  # what such jobs do
        return "done"

    put = await queue.enqueue("blocking", {})
    async with run_worker([blocking]):
        dead = await ended(redis, put.job_id)
    assert dead.status == "failed"
    assert dead.error is not None and dead.error.message == "ran longer than 0.05 s"


async def test_a_timeout_is_retried_and_says_so(redis: ArqRedis, queue: Queue, run_worker: RunWorker) -> None:
    @job(max_tries=2, timeout_s=0.05, retry=Delays([60]))
    async def slow(ctx: Context, args: Note) -> None:
        await asyncio.Event().wait()

    put = await queue.enqueue("slow", {})
    async with run_worker([slow]):
        await due_now(redis, put.job_id)
        dead = await ended(redis, put.job_id)
    assert [attempt.outcome for attempt in dead.attempts] == ["retry", "failed"]
    assert dead.error is not None and dead.error.message == "ran longer than 0.05 s"


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [(Fail("never works"), "failed", "Fail"), (Cancel("not wanted"), "cancelled", "Cancel")],
)
async def test_fail_and_cancel_end_a_job_at_once(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, error: Exception, status: str, name: str
) -> None:
    @job(max_tries=5)
    async def decided(ctx: Context, args: Note) -> None:
        raise error

    put = await queue.enqueue("decided", {})
    async with run_worker([decided]):
        done = await ended(redis, put.job_id)
    assert (done.status, len(done.attempts)) == (status, 1)
    assert done.error is not None and (done.error.type, done.error.message) == (name, str(error))


async def test_retry_decides_its_own_wait(redis: ArqRedis, queue: Queue, run_worker: RunWorker) -> None:
    @job(retry=Delays([5000]))
    async def patient(ctx: Context, args: Note) -> None:
        if ctx.attempt == 1:
            raise Retry("not yet", after_s=0.05)

    put = await queue.enqueue("patient", {})
    async with run_worker([patient]):
        done = await ended(redis, put.job_id)
    first, second = done.attempts
    assert (first.next_attempt_at_ms or 0) - first.ended_at_ms == 50
    # the wait is added by the server's clock when the outcome is written
    assert 0 <= second.due_at_ms - (first.next_attempt_at_ms or 0) < 4_000
    assert second.started_at_ms >= second.due_at_ms


@pytest.mark.parametrize(("at_least_s", "wait_ms"), [(1.0, 5_000_000), (9_000.0, 9_000_000)])
async def test_a_retry_that_asks_for_a_least_wait_never_shortens_the_policys(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker, at_least_s: float, wait_ms: int
) -> None:
    @job(retry=Delays([5000], jitter=0))
    async def throttled(ctx: Context, args: Note) -> None:
        raise Retry("not yet", at_least_s=at_least_s)

    put = await queue.enqueue("throttled", {})
    async with run_worker([throttled]):

        async def tried() -> JobSnapshot | None:
            snapshot = await read_job(redis, put.job_id)
            return snapshot if snapshot is not None and snapshot.attempts else None

        (first,) = (await eventually(tried)).attempts
    assert (first.next_attempt_at_ms or 0) - first.ended_at_ms == wait_ms
    assert first.wait_asked == (wait_ms > 5_000_000)


async def test_a_job_that_is_put_back_uses_no_try_leaves_no_attempt_and_says_why_it_waits(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    started = 0

    @job(max_tries=1)
    async def patient(ctx: Context, args: Note) -> None:
        nonlocal started
        started += 1
        assert ctx.attempt == 1
        if started <= 2:
            raise Snooze("the other side is busy", after_s=3600, code="endpoint_busy")

    async def put_back() -> JobSnapshot | None:
        job = await read_job(redis, put.job_id)
        return job if job is not None and job.put_back is not None and job.status == "deferred" else None

    async def twice_put_back() -> bool:
        return started == 2

    put = await queue.enqueue("patient", {})
    async with run_worker([patient]):
        await due_now(redis, put.job_id)
        await eventually(twice_put_back)
        waiting = await eventually(put_back)
        why = await why_waiting(redis, waiting, silent_s=10)
        await due_now(redis, put.job_id)
        done = await ended(redis, put.job_id)
    assert waiting.attempts == () and waiting.tries == 0
    assert why is not None and why.code == "endpoint_busy" and "the other side is busy" in why.detail
    assert (done.status, len(done.attempts), started) == ("succeeded", 1, 3)
    assert await redis.keys(f"*{put.job_id}") == [f"arq:result:{put.job_id}".encode()]


async def test_args_that_do_not_fit_fail_at_once_without_showing_them(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job()
    async def strict(ctx: Context, args: Strict) -> None: ...

    put = await queue.enqueue("strict", {"number": "s3cret"})
    async with run_worker([strict]):
        done = await ended(redis, put.job_id)
    assert done.status == "failed" and len(done.attempts) == 1 and done.error is not None
    assert "number" in done.error.message and "s3cret" not in done.error.message


async def test_a_result_without_a_json_form_fails_the_job(redis: ArqRedis, queue: Queue, run_worker: RunWorker) -> None:
    @job()
    async def odd(ctx: Context, args: Note) -> object:
        return object()

    put = await queue.enqueue("odd", {})
    async with run_worker([odd]):
        done = await ended(redis, put.job_id)
    assert done.status == "failed" and done.error is not None and done.error.type == "InvalidResult"


async def test_text_that_is_no_unicode_cannot_harm_the_worker(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    """A lone surrogate, as bytes of a peer leave it, has no UTF-8 form and so none in JSON."""

    @job(max_tries=1)
    async def mangled(ctx: Context, args: Note) -> str:
        await ctx.progress(0.1, "note \udce4")
        if args.text == "raise":
            raise ValueError("reply \udce4")
        return "result \udce4"

    raising, returning = await queue.enqueue("mangled", {"text": "raise"}), await queue.enqueue("mangled", {})
    async with run_worker([mangled]):
        raised, returned = await ended(redis, raising.job_id), await ended(redis, returning.job_id)
    assert raised.error is not None and raised.error.message == "reply ?"
    assert returned.error is not None and returned.error.type == "InvalidResult"


async def test_a_job_that_is_not_started_is_kept_as_failed_with_the_reason(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job()
    async def known(ctx: Context, args: Note) -> None: ...

    put = await queue.enqueue("known", {})
    await redis.delete(keys.body(put.job_id))
    async with run_worker([known], dead_ttl_s=1000):
        done = await ended(redis, put.job_id)
    assert done.status == "failed" and done.error is not None and "expired" in done.error.message
    assert 900 < await redis.ttl(keys.result(put.job_id)) <= 1000


async def test_a_retry_is_never_lost_to_an_expiry(redis: ArqRedis, run_worker: RunWorker) -> None:
    """Arq lets the body and the try counter expire after a day; a retry may be due later than that."""

    @job(retry=Delays([86_400], jitter=0))
    async def later(ctx: Context, args: Note) -> None:
        raise ValueError

    stock = await redis.enqueue_job("later", text="from a stock producer")
    assert stock is not None
    async with run_worker([later]):
        await eventually(lambda: _is_deferred(stock))
    assert await redis.ttl(keys.body(stock.job_id)) == -1
    assert await redis.ttl(keys.tries(stock.job_id)) == -1


async def _is_deferred(stock: Job) -> bool:
    return await stock.status() == JobStatus.deferred


async def test_a_stock_producer_and_reader_work_with_our_worker(redis: ArqRedis, run_worker: RunWorker) -> None:
    @job()
    async def echo(ctx: Context, args: Note) -> str:
        if args.text == "bad":
            raise Fail("as asked")
        return args.text

    async with run_worker([echo]):
        good = await redis.enqueue_job("echo", text="good")
        positional = await redis.enqueue_job("echo", {"text": "one mapping"})
        bad = await redis.enqueue_job("echo", text="bad")
        assert good is not None and positional is not None and bad is not None
        assert await good.result(timeout=60, poll_delay=0.01) == "good"
        assert await positional.result(timeout=60, poll_delay=0.01) == "one mapping"
        with pytest.raises(RuntimeError, match="Fail: as asked"):
            await bad.result(timeout=60, poll_delay=0.01)
        assert await good.status() == JobStatus.complete


async def test_a_drain_hands_jobs_back_without_costing_a_try(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    started = asyncio.Event()

    @job(max_tries=1)
    async def long(ctx: Context, args: Note) -> str:
        if not started.is_set():
            started.set()
            await asyncio.Event().wait()
        return f"attempt {ctx.attempt}"

    put = await queue.enqueue("long", {})
    async with run_worker([long]):
        await asyncio.wait_for(started.wait(), 60)
    waiting = await read_job(redis, put.job_id)
    assert waiting is not None and (waiting.status, waiting.attempts[0].outcome) == ("queued", "handed_back")
    async with run_worker([long]):
        done = await ended(redis, put.job_id)
    assert (done.status, done.result) == ("succeeded", "attempt 1")


@pytest.mark.parametrize("kind", ["job type", "function"])
async def test_a_job_that_a_drain_hands_back_keeps_its_place(
    kind: str, redis: ArqRedis, redis_url: str, queue: Queue
) -> None:
    """Behind all that waits by then, it would wait for the whole backlog with each restart."""
    started = asyncio.Event()

    async def endless(ctx: dict[str, Any] | None = None) -> None:
        started.set()
        await asyncio.Event().wait()

    @job()
    async def long(ctx: Context, args: Note) -> None:
        await endless()

    options = {"job_types": [long]} if kind == "job type" else {"functions": [func(endless, name="long")]}
    first = (await queue.enqueue("long", {})).job_id if kind == "job type" else (await put_by_arq(redis, "long"))
    await redis.zincrby(keys.queue(keys.DEFAULT_QUEUE), -60_000, first)
    async with running_worker(redis_url, max_jobs=1, **options):
        await asyncio.wait_for(started.wait(), 60)
        second = await queue.enqueue("long", {})
        await redis.zincrby(keys.queue(keys.DEFAULT_QUEUE), -30_000, second.job_id)
    order = await redis.zrange(keys.queue(keys.DEFAULT_QUEUE), 0, -1)
    assert [job_id.decode() for job_id in order] == [first, second.job_id]


async def put_by_arq(redis: ArqRedis, function: str) -> str:
    handle = await redis.enqueue_job(function)
    assert handle is not None
    return handle.job_id


async def test_a_lease_is_short_and_renewed_while_the_job_runs(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @job()
    async def long(ctx: Context, args: Note) -> None:
        started.set()
        await go_on.wait()

    put = await queue.enqueue("long", {})
    async with run_worker([long], lease_s=1):
        await asyncio.wait_for(started.wait(), 60)
        started_s = time.monotonic()

        async def outlived() -> bool:
            assert 0 < await redis.pttl(keys.lease(put.job_id)) <= 1000
            return time.monotonic() - started_s > 1.5

        await eventually(outlived)
        snapshot = await read_job(redis, put.job_id)
        assert snapshot is not None and snapshot.status == "in_progress" and snapshot.started_at_ms is not None
        go_on.set()
        await ended(redis, put.job_id)


async def test_an_attempt_whose_worker_died_is_recorded_as_lost(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    hang, started = True, asyncio.Event()

    @job()
    async def fatal(ctx: Context, args: Note) -> int:
        started.set()
        if hang:
            await asyncio.Event().wait()
        return ctx.attempt

    put = await queue.enqueue("fatal", {})
    async with run_worker([fatal], lease_s=1) as dying:
        await asyncio.wait_for(started.wait(), 60)
        # a killed process writes nothing: take away its means to
        dying._leases.finish = _nothing_written  # type: ignore[method-assign]
        dying._leases.renew = _nothing_renewed  # type: ignore[method-assign]
    hang = False
    async with run_worker([fatal], lease_s=1):
        done = await ended(redis, put.job_id)
    assert [(attempt.number, attempt.outcome) for attempt in done.attempts] == [(1, "lost"), (2, "succeeded")]
    assert done.result == 2


async def _nothing_written(outcomes: Iterable[object]) -> list[bool]:
    return [True for _ in outcomes]


async def _nothing_renewed(held: object, counters: object, *, report: bytes = b"") -> Renewed:
    return Renewed(lost=[], to_cancel=[])


async def test_a_worker_shows_that_it_lives_and_leaves_when_it_stops(redis: ArqRedis, run_worker: RunWorker) -> None:
    @job()
    async def idle(ctx: Context, args: Note) -> None: ...

    async with run_worker([idle]):
        await eventually(lambda: _live(redis))
    assert not await _live(redis)


async def _live(redis: ArqRedis) -> int:
    return sum(await live_workers(redis, silent_s=10))


async def test_a_job_id_is_taken_once(queue: Queue) -> None:
    await queue.enqueue("any", {}, job_id="same")
    with pytest.raises(JobExists):
        await queue.enqueue("any", {}, job_id="same")


async def test_cancel_ends_a_waiting_job_and_nothing_else(redis: ArqRedis, queue: Queue, run_worker: RunWorker) -> None:
    ran = []

    @job()
    async def unwanted(ctx: Context, args: Note) -> None:
        ran.append(ctx.job_id)

    put = await queue.enqueue("unwanted", {"text": "a"}, delay_ms=50)
    assert await queue.cancel(put.job_id) == "cancelled"
    assert await queue.cancel(put.job_id) == "ended"
    assert await queue.cancel("never-was") == "unknown"
    other = await queue.enqueue("unwanted", {}, delay_ms=100)
    async with run_worker([unwanted]):
        await ended(redis, other.job_id)
    assert ran == [other.job_id]
    cancelled = await read_job(redis, put.job_id)
    assert cancelled is not None and (cancelled.status, cancelled.args) == ("cancelled", {"text": "a"})
    with pytest.raises(asyncio.CancelledError):
        await Job(put.job_id, redis, _deserializer=redis.job_deserializer).result(timeout=60)


async def test_cancel_stops_a_claim_that_is_under_way(redis: ArqRedis, queue: Queue) -> None:
    """Arq claims by WATCH, look, MULTI: a cancel in between must make the claim fail."""
    put = await queue.enqueue("any", {})
    async with redis.pipeline(transaction=True) as claim:
        await claim.watch(keys.lease(put.job_id))
        await claim.exists(keys.lease(put.job_id))
        assert await queue.cancel(put.job_id) == "cancelled"
        claim.multi()  # type: ignore[no-untyped-call]
        claim.psetex(keys.lease(put.job_id), 1000, b"1")
        with pytest.raises(Exception, match="Watched variable changed"):
            await claim.execute()


async def test_jobs_of_one_millisecond_run_in_the_order_they_came(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    ran: list[str] = []

    @job()
    async def note(ctx: Context, args: Note) -> None:
        ran.append(args.text)

    put = [await queue.enqueue("note", {"text": str(number)}, run_at_ms=1) for number in range(50)]
    async with run_worker([note]):
        for one in put:
            await ended(redis, one.job_id)
    assert ran == [str(number) for number in range(50)]
