"""The process for suspects: an attempt in it ends in time, and a process that does not start is not the job's fault."""

from __future__ import annotations

import asyncio
import errno
import multiprocessing
import pickle
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand.job.context import Context
from errand.job.control import Snooze
from errand.job.job_type import job
from errand.leases.leases import Claim
from errand.process.isolated import ignore_signals
from errand.queue.queue import Queue
from errand.wire import keys
from errand.wire.flow import Flow, Needs
from errand.worker import isolation
from errand.worker.crashes import Suspects
from errand.worker.isolation import Asked, Attempted, Isolation
from errand.worker.worker import Worker
from tests.conftest import RunWorker, running_worker
from tests.worker.stuck_processes import never_ready, stuck
from tests.worker.test_crashes import lost
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing

SPAWN = multiprocessing.get_context("spawn")


@asynccontextmanager
async def isolated(target: Callable[..., None]) -> AsyncIterator[Isolation]:
    ours, theirs = multiprocessing.Pipe()

    def process(connection: Connection) -> BaseProcess:
        return SPAWN.Process(target=target, args=(connection, theirs))

    alone = Isolation(process)
    try:
        yield alone
    finally:
        ours.close()
        await alone.close()


async def test_an_isolated_attempt_that_blocks_its_process_ends_by_its_time_limit(
    redis: ArqRedis, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "OVERTIME_GRACE_S", 0.1)
    monkeypatch.setattr(isolation, "CANCEL_LIMIT_S", 0.1)

    @job(timeout_s=0.1, max_tries=3)
    async def blocking(ctx: Context, args: Nothing) -> None: ...

    put = await Queue(redis, ended_ttl_s=60).enqueue("blocking", {})
    await lost(redis, jobs=1, times=2)
    async with isolated(stuck) as alone, run_worker([blocking], suspects=Suspects(alone)):
        done = await ended(redis, put.job_id)
    assert (done.status, done.attempts[-1].outcome) == ("failed", "failed")
    assert done.error is not None and (done.error.type, done.error.message) == ("TimeoutError", "ran longer than 0.1 s")


class Refused(SPAWN.Process):  # type: ignore[name-defined,misc]  # a class, which typeshed has as a method
    def start(self) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")


async def attempt_in(alone: Isolation) -> Any:
    async def starts() -> None: ...

    return await alone.attempt("queue", (Claim("a", 0, 1, b"", [], False, "token"), {}), starts=starts, limit_s=60)


async def test_a_process_that_cannot_be_started_puts_the_job_back() -> None:
    alone = Isolation(lambda connection: Refused())
    with pytest.raises(Snooze, match="did not start"):
        await attempt_in(alone)
    await alone.close()


async def test_a_process_that_is_not_ready_in_time_is_killed_and_puts_the_job_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolation, "START_LIMIT_S", 0.1)
    async with isolated(never_ready) as alone:
        with pytest.raises(Snooze, match="did not start"):
            await attempt_in(alone)
        assert not multiprocessing.active_children()


async def test_a_process_that_is_being_started_when_it_is_closed_does_not_live_on() -> None:
    """The worker's own process would wait for it when it ends."""
    begins, goes_on = threading.Event(), threading.Event()
    ours, theirs = multiprocessing.Pipe()

    def late(connection: Connection) -> BaseProcess:
        begins.set()
        goes_on.wait()
        return SPAWN.Process(target=stuck, args=(connection, theirs))

    alone = Isolation(late)
    attempt = asyncio.create_task(attempt_in(alone))
    await asyncio.to_thread(begins.wait)
    attempt.cancel()
    closing = asyncio.create_task(alone.close())
    await asyncio.sleep(0)
    goes_on.set()
    await asyncio.gather(attempt, closing, return_exceptions=True)
    assert not multiprocessing.active_children()
    ours.close()


class Numbers(BaseModel):
    numbers: list[int]


@job(queue="other")
async def one(ctx: Context, args: Nothing) -> int:
    return 1


@job(max_tries=10)
async def joins(ctx: Context, args: Numbers) -> int:
    return sum(args.numbers)


class Beside(Isolation):
    """Has the attempts made by another worker, which knows of a job what it is sent, as another process does."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(lambda connection: Refused())
        self._worker = worker

    async def attempt(self, queue: str, asked: Asked, **limits: Any) -> Attempted:
        return await self._worker.attempt(*pickle.loads(pickle.dumps(asked)))


async def test_a_suspect_has_the_args_that_jobs_before_it_have_given_it(
    redis: ArqRedis, redis_url: str, run_worker: RunWorker
) -> None:
    """They are not in its body: without them it would fail for good, as one whose args do not fit."""
    flow = Flow(needs=Needs(jobs=(("one", "other"),), run_after="all_succeeded"), handed={"numbers": "results"})
    await Queue(redis, name="other", ended_ttl_s=60).enqueue("one", {}, job_id="one")
    await Queue(redis, ended_ttl_s=60).enqueue("joins", {}, job_id="joins", flow=flow)
    async with running_worker(redis_url, "other", job_types=[one]):
        await ended(redis, "one")
    await lost(redis, jobs=1, times=2)
    async with (
        running_worker(redis_url, "none", job_types=[joins]) as another,
        run_worker([joins], suspects=Suspects(Beside(another))),
    ):
        done = await ended(redis, "joins")
    assert (done.status, done.result) == ("succeeded", 1), done.error


async def test_what_an_isolated_attempt_counts_arrives(redis: ArqRedis, redis_url: str, run_worker: RunWorker) -> None:
    @job(max_tries=10)
    async def counting(ctx: Context, args: Nothing) -> None:
        ctx.count("letters:sent")

    put = await Queue(redis, ended_ttl_s=60).enqueue("counting", {})
    await lost(redis, jobs=1, times=2)
    async with running_worker(redis_url, "none", job_types=[counting]) as another:
        async with run_worker([counting], suspects=Suspects(Beside(another))):
            await ended(redis, put.job_id)
    assert await redis.hget(keys.counters(keys.queue("default")), "letters:sent") == b"1"  # type: ignore[misc]


def test_a_signal_to_the_whole_group_ends_no_isolated_attempt() -> None:
    """The death of its process would be proof against the job."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    try:
        ignore_signals()
        for number in numbers:
            signal.raise_signal(number)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
