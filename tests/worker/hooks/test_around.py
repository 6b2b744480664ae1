"""Hooks around attempts, on a real worker: their order, what they see, and what their failures do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import Cancel, Context, Fail, Retry, SeenAttempt, Snooze, job, on_attempt
from errand.job.catalog import discover
from errand.job.hooks import AttemptHook
from errand.job.retry_policy import Delays
from errand.leases.leases import Claim
from errand.queue.queue import Queue
from errand.wire import codec
from tests.conftest import RunWorker
from tests.waiting import eventually
from tests.worker.test_worker import ended

DAY_S = 86_400
CLOCKS = timedelta(milliseconds=5)
"""One time is this process' and the other the server's, each cut to a millisecond."""
TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


class How(BaseModel):
    how: str = "return"


@job(max_tries=2, timeout_s=60, retry=Delays([DAY_S]))
async def act(ctx: Context, args: How) -> str:
    errors = {
        "raise": ValueError("no"),
        "fail": Fail("no"),
        "cancel": Cancel("no"),
        "retry": Retry("no", after_s=DAY_S),
        "snooze": Snooze("no", after_s=DAY_S),
    }
    if args.how in errors:
        raise errors[args.how]
    if args.how == "hang":
        await asyncio.Event().wait()
    return TENANT.get()


@job(timeout_s=0.05, max_tries=1)
async def slow(ctx: Context, args: How) -> None:
    await asyncio.Event().wait()


@job()
def threaded(ctx: Context, args: How) -> str:
    assert threading.current_thread() is not threading.main_thread()
    return TENANT.get()


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


def noting(name: str, journal: list[str], *, yields: bool = True) -> AttemptHook:
    """A hook that notes when it is entered and left."""

    @on_attempt()
    async def hook(attempt: SeenAttempt) -> AsyncIterator[None]:
        journal.append(f"{name} enters")
        try:
            yield
        except BaseException as error:
            journal.append(f"{name} sees {type(error).__name__}")
            raise
        finally:
            journal.append(f"{name} leaves: {attempt.outcome}")

    return hook


async def test_all_types_come_first_and_are_left_last_and_a_job_runs_within(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue
) -> None:
    journal: list[Any] = []

    @on_attempt(act, threaded)
    @asynccontextmanager
    async def tenant(attempt: SeenAttempt) -> AsyncIterator[None]:
        before = TENANT.set("acme")
        journal.append((attempt.type, attempt.queue, attempt.args, attempt.ctx.job_id, attempt.ctx.attempt))
        assert attempt.ctx.enqueued_at - CLOCKS <= attempt.due_at <= datetime.now(UTC) + CLOCKS
        assert (attempt.outcome, attempt.error) == (None, None)
        yield
        journal.append("tenant leaves")
        TENANT.reset(before)

    hooks = [tenant, noting("a", journal), noting("b", journal)]
    async with run_worker([act, threaded, slow], hooks=hooks):
        first = await queue.enqueue("act", {})
        assert (await ended(redis, first.job_id)).result == "acme"
        seen = ("act", "default", How(), first.job_id, 1)
        assert journal == [
            *("a enters", "b enters", seen),
            *("tenant leaves", "b leaves: succeeded", "a leaves: succeeded"),
        ]
        second = await queue.enqueue("threaded", {})
        assert (await ended(redis, second.job_id)).result == "acme", "in a thread, too"
        journal.clear()
        third = await queue.enqueue("slow", {})
        await ended(redis, third.job_id)
        seen_by = ["a enters", "b enters", "b sees TimeoutError", "b leaves: failed"]
        assert journal[:4] == seen_by, "its type has no other hook, and past its limit it is not cancelled"
        journal.clear()
        await ended(redis, (await queue.enqueue("act", {"how": 7})).job_id)
        assert journal == [], "args that do not fit make no attempt"


@pytest.mark.parametrize(
    ("how", "error", "outcome"),
    [
        ("raise", "ValueError", "retry"),
        ("retry", "Retry", "retry"),
        ("fail", "Fail", "failed"),
        ("cancel", "Cancel", "cancelled"),
        ("snooze", "Snooze", "handed_back"),
    ],
)
async def test_a_hook_sees_what_was_raised_and_how_the_attempt_ended(
    run_worker: RunWorker, queue: Queue, how: str, error: str, outcome: str
) -> None:
    journal: list[str] = []
    async with run_worker([act], hooks=[noting("a", journal)]):
        await queue.enqueue("act", {"how": how})
        await eventually(lambda: noted(journal, 3))
    assert journal == ["a enters", f"a sees {error}", f"a leaves: {outcome}"]


async def test_an_attempt_that_is_stopped_from_outside_is_left_as_well(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue
) -> None:
    journal: list[str] = []
    async with run_worker([act], hooks=[noting("a", journal)], job_completion_wait=0) as worker:
        put = await queue.enqueue("act", {"how": "hang"})
        await eventually(lambda: noted(journal, 1))
        worker._cancel([put.job_id])
        assert (await ended(redis, put.job_id)).status == "cancelled"
        assert journal == ["a enters", "a sees CancelledError", "a leaves: cancelled"]
        journal.clear()
        await queue.enqueue("act", {"how": "hang"})
        await eventually(lambda: noted(journal, 1))
    assert journal == ["a enters", "a sees CancelledError", "a leaves: handed_back"]


async def noted(journal: list[Any], number: int) -> bool:
    return len(journal) >= number


async def test_a_hook_that_raises_or_hangs_before_counts_as_the_job_that_is_not_called(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue
) -> None:
    journal: list[str] = []

    @on_attempt()
    async def gate(attempt: SeenAttempt) -> AsyncIterator[None]:
        if attempt.args.how == "fail":
            raise Fail("suspended")
        if attempt.type == "slow":
            await asyncio.Event().wait()
        yield

    async with run_worker([act, slow], hooks=[noting("a", journal), gate, noting("never", journal)]):
        job = await ended(redis, (await queue.enqueue("act", {"how": "fail"})).job_id)
        assert job.status == "failed" and job.error is not None and job.error.message == "suspended"
        assert journal == ["a enters", "a sees Fail", "a leaves: failed"]
        job = await ended(redis, (await queue.enqueue("slow", {})).job_id)
        assert job.error is not None and job.error.message == "ran longer than 0.05 s"


async def test_whatever_hooks_do_behind_the_outcome_stands_and_the_others_are_left(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue
) -> None:
    journal: list[str] = []

    @on_attempt()
    async def raises(attempt: SeenAttempt) -> AsyncIterator[None]:
        yield
        raise ValueError("a hook's fault")

    @on_attempt(end_limit_s=0.05)
    async def hangs(attempt: SeenAttempt) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.Event().wait()

    @on_attempt()
    async def swallows(attempt: SeenAttempt) -> AsyncIterator[None]:
        try:
            yield
        except Fail:
            journal.append("swallowed")

    async with run_worker([act], hooks=[noting("a", journal), raises, hangs, swallows]):
        assert (await ended(redis, (await queue.enqueue("act", {})).job_id)).status == "succeeded"
        assert journal == ["a enters", "a leaves: succeeded"]
        journal.clear()
        assert (await ended(redis, (await queue.enqueue("act", {"how": "fail"})).job_id)).status == "failed"
        assert journal == ["a enters", "swallowed", "a sees Fail", "a leaves: failed"]


async def test_a_suspect_has_its_hooks_in_the_process_that_makes_its_attempt(
    run_worker: RunWorker, queue: Queue
) -> None:
    journal: list[str] = []
    body = codec.dumps({"t": None, "f": "act", "a": [], "k": {}, "et": 1})
    claim = Claim(job_id="j", due_at_ms=1, job_try=1, body=body, attempts=[], lost=False, token="t", losses=2)
    async with run_worker([act], hooks=[noting("a", journal)]) as worker:
        outcome, *_ = await worker.attempt(claim, {})
    assert outcome.status == "succeeded" and journal == ["a enters", "a leaves: succeeded"]


def test_hooks_are_found_with_the_job_types_and_stand_in_their_order() -> None:
    assert [hook.name for hook in discover(["examples.hooks"]).hooks] == ["logged", "tenant", "alarm"]


async def test_what_is_no_hook_is_refused_where_it_is_written() -> None:
    async def no_yield(attempt: SeenAttempt) -> None: ...

    with pytest.raises(TypeError, match=r"no_yield: a hook of attempts is an `async def` with one `yield`"):
        on_attempt()(no_yield)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write @on_attempt\(\)"):
        on_attempt(no_yield)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a limit above 0 s"):
        on_attempt(act, end_limit_s=0)
    attempt = SeenAttempt(type="act", queue="default", ctx=None, args=How(), due_at=datetime.now(UTC))  # type: ignore[arg-type]
    journal: list[str] = []
    async with noting("a", journal)(attempt):
        assert journal == ["a enters"], "a test may enter it by itself"


async def test_each_job_of_a_batch_has_its_hooks(redis: ArqRedis, run_worker: RunWorker, queue: Queue) -> None:
    journal: list[str] = []

    @job(max_tries=1, batch=2)
    async def together(ctx: list[Context], args: list[How]) -> list[str | Fail]:
        return [Fail("no") if one.how == "fail" else "done" for one in args]

    async with run_worker([together], hooks=[noting("a", journal)]):
        put = await queue.enqueue_many("together", [{}, {"how": "fail"}])
        ends = [(await ended(redis, one.job_id)).status for one in put]
    assert ends == ["succeeded", "failed"]
    assert sorted(journal) == ["a enters"] * 2 + ["a leaves: failed", "a leaves: succeeded", "a sees Fail"]
