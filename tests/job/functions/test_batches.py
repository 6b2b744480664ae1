"""`@job(batch=…)`: one call of the function for many jobs, each of which keeps its own attempt and end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import Context, Delays, Fail, job
from errand.job.functions.batches import Item, _call
from errand.queue.queue import Queue
from tests.conftest import RunWorker
from tests.job.functions.test_threads import made
from tests.waiting import NEVER_S, eventually
from tests.worker.test_worker import ended


class Document(BaseModel):
    number: int


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def put(queue: Queue, name: str, number: int) -> list[str]:
    return [each.job_id for each in await queue.enqueue_many(name, [{"number": each} for each in range(number)])]


async def test_one_call_runs_many_jobs_and_each_has_its_own_end(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    calls: list[int] = []

    @job(batch=3, batch_wait_s=0.05)
    async def index(ctxs: list[Context], many: list[Document]) -> list[str | Fail]:
        calls.append(len(many))
        return [
            Fail("nothing in it") if each.number == 1 else f"{each.number} of {ctx.job_id}"
            for ctx, each in zip(ctxs, many, strict=True)
        ]

    ids = await put(queue, "index", 5)
    async with run_worker([index]):
        ends = [await ended(redis, job_id) for job_id in ids]
    assert calls == [3, 2]
    assert [end.status for end in ends] == ["succeeded", "failed", "succeeded", "succeeded", "succeeded"]
    assert ends[4].result == f"4 of {ids[4]}"
    assert ends[1].error is not None
    assert (ends[1].error.message, [len(end.attempts) for end in ends]) == ("nothing in it", [1] * 5)
    assert index.result_schema == {"type": "string"}


async def test_an_outcome_that_no_future_takes_keeps_none_from_its_own() -> None:
    loop = asyncio.get_running_loop()
    items = [Item(made(), Document(number=number), loop.create_future()) for number in range(2)]

    async def function(ctxs: list[Context], many: list[Document]) -> list[Any]:
        return [StopIteration(1), 2]

    await _call(function, items)
    assert isinstance(items[0].outcome.exception(), RuntimeError) and items[1].outcome.result() == 2


async def test_an_exception_is_the_end_of_all_of_its_attempts(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    calls = 0

    @job(batch=2, retry=Delays([0.01]))
    async def index(ctxs: list[Context], many: list[Document]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("the index is away")

    ids = await put(queue, "index", 2)
    async with run_worker([index]):
        ends = [await ended(redis, job_id) for job_id in ids]
    outcomes = [[attempt.outcome for attempt in end.attempts] for end in ends]
    assert outcomes == [["retry", "succeeded"]] * 2


async def test_a_cancelled_job_leaves_its_batch_and_a_call_without_jobs_is_ended(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    go_on, ended_early = asyncio.Event(), asyncio.Event()
    started: list[list[int]] = []

    @job(batch=2, batch_wait_s=NEVER_S)
    async def index(ctxs: list[Context], many: list[Document]) -> None:
        started.append([each.number for each in many])
        try:
            await go_on.wait()
        except asyncio.CancelledError:
            ended_early.set()
            raise

    async def runs(number: int) -> list[str]:
        ids = await put(queue, "index", 2)
        await eventually(lambda: _is(len(started) == number))
        return ids

    async with run_worker([index]):
        first, second = await runs(1)
        assert await queue.cancel(first) == "cancelling"
        assert (await ended(redis, first)).status == "cancelled"
        go_on.set()
        assert (await ended(redis, second)).status == "succeeded"
        go_on.clear()
        for job_id in await runs(2):
            await queue.cancel(job_id)
        await asyncio.wait_for(ended_early.wait(), NEVER_S)


async def _is(true: bool) -> bool:
    return true


async def test_a_list_that_has_not_one_for_each_fails_them(
    redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job(batch=2, max_tries=1)
    async def index(ctxs: list[Context], many: list[Document]) -> list[int]:
        return [1]

    ids = await put(queue, "index", 2)
    async with run_worker([index]):
        ends = [await ended(redis, job_id) for job_id in ids]
    assert {end.error.message for end in ends if end.error} == {
        "a batch of 2 returns None or a list of 2 results or exceptions, in order"
    }


def test_a_function_of_another_shape_is_refused() -> None:
    async def one(ctx: Context, args: Document) -> None: ...

    async def many(ctxs: list[Context], many: list[Document]) -> None: ...

    makes: Any = job
    with pytest.raises(TypeError, match=r"a job of batches is `async def one\(ctxs: list"):
        makes(batch=2)(one)
    for options in ({"batch": 0}, {"batch": 1001}, {"batch": 2, "batch_wait_s": -1}):
        with pytest.raises(ValueError, match="a batch is of 1 to 1000 jobs"):
            makes(**options)(many)
