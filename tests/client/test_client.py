"""Jobs put by their type from anywhere: what a caller is answered, waits for and sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from errand import Client, InvalidArgs, JobFailed, NotUnique, QueueUnavailable, UnknownDependency
from errand.client import client as client_module
from errand.client.published_types import publish
from errand.job.producing.handle import JobHandle
from errand.queue.queue import Queue
from errand.wire import keys
from errand.worker.worker import Worker
from examples.orders import Confirmation, Order, by_name, by_type, confirm, many, pack
from settings import Settings
from tests.conftest import make_settings
from tests.http.answers.test_problems import absent, silent
from tests.waiting import NEVER_S, eventually

Away = Callable[[Path], AbstractAsyncContextManager[None]]


@pytest.fixture
async def client(redis: ArqRedis, redis_url: str, settings: Settings) -> AsyncIterator[Client]:
    async with Client(settings, redis_url=redis_url) as opened:
        yield opened


async def test_the_example_runs(worker: Worker, redis: ArqRedis, redis_url: str, settings: Settings) -> None:
    settings = make_settings(settings.data_dir, redis_url=redis_url)
    assert await by_type(settings) == Confirmation(order=7, ships_on=date(2030, 1, 31))
    assert await many(settings) == [1, 2, 3]
    await eventually(lambda: redis.hexists(keys.JOB_TYPES, "pack"))  # type: ignore[arg-type,return-value]
    assert await by_name(settings) == 1


async def test_a_result_has_the_type_that_the_function_returns(client: Client, worker: Worker) -> None:
    job = await confirm.enqueue(Order(id=1, items=["saw"]))
    assert await job.result(timeout_s=NEVER_S) == Confirmation(order=1, ships_on=date(2030, 1, 31))
    assert await job.status() == "succeeded"
    # once more, also by whoever only knows the id
    assert await client.job(job.id).result() == {"order": 1, "ships_on": "2030-01-31"}
    assert await job.cancel() == "ended"


async def test_a_failed_job_raises_its_error(client: Client, worker: Worker) -> None:
    job = await pack.enqueue(id=1, items=["anvil"])
    with pytest.raises(JobFailed, match="too heavy") as raised:
        await job.result(timeout_s=NEVER_S)
    assert (raised.value.error.type, raised.value.cancelled) == ("Fail", False)


async def test_events_are_each_status_and_progress_until_the_end(client: Client, worker: Worker) -> None:
    job = await confirm.options(delay=0.3).enqueue(id=1, items=["saw"])
    seen = [(event.status, event.progress.note if event.progress else "") async for event in job.events()]
    assert seen == [("deferred", ""), ("in_progress", ""), ("in_progress", "in stock"), ("succeeded", "")]
    # of a job that has ended: its end
    assert [event.status async for event in job.events()] == ["succeeded"]


async def test_a_wait_has_its_limit_and_a_cancel_ends_it(client: Client) -> None:
    job = await pack.options(delay="1h").enqueue(id=1, items=["saw"])
    with pytest.raises(TimeoutError):
        await job.result(timeout_s=0.05)
    waiting = asyncio.create_task(job.result(timeout_s=NEVER_S))
    assert (await job.status(), await job.cancel()) == ("deferred", "cancelled")
    with pytest.raises(JobFailed) as raised:
        await waiting
    assert raised.value.cancelled


async def test_options_say_when_how_often_and_beside_which_others(client: Client, redis: ArqRedis) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    job = await pack.options(run_at=at, max_tries=2, job_id="mine").enqueue(id=1, items=["saw"])
    assert (job.id, job.existing) == ("mine", False)
    assert await redis.zscore(keys.queue("default"), "mine") == int(at.timestamp() * 1000)
    assert (await pack.options(job_id="mine").enqueue(id=2, items=["saw"])).existing

    first = await pack.options(unique_key="order-1", delay="1h").enqueue(id=1, items=["saw"])
    again = await pack.options(unique_key="order-1").enqueue(id=1, items=["saw"])
    assert (again.id, again.existing) == (first.id, True)
    with pytest.raises(NotUnique):
        await pack.options(unique_key="order-1", on_conflict="reject").enqueue(id=1, items=["saw"])
    instead = await pack.options(unique_key="order-1", on_conflict="replace").enqueue(id=1, items=["saw"])
    assert not instead.existing and await first.status() == "cancelled"


async def test_a_mistake_of_the_caller_is_raised_at_the_call(client: Client, redis: ArqRedis) -> None:
    with pytest.raises(InvalidArgs, match="items: List should have at least 1 item"):
        await pack.enqueue(id=1, items=[])
    with pytest.raises(TypeError, match="did you mean 'items'"):
        await pack.enqueue(id=1, item=["saw"])  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="either delay or run_at"):
        pack.options(delay=1, run_at=datetime.now(UTC))
    with pytest.raises(ValueError, match="without unique_key"):
        pack.options(on_conflict="reject")
    with pytest.raises(TypeError, match="there is no option tries"):
        pack.options(tries=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="at least a millisecond"):
        pack.options(unique_key="a", unique_for=0)
    with pytest.raises(ValueError, match="for one job"):
        await pack.options(unique_key="a").enqueue_many([])
    with pytest.raises(InvalidArgs):
        await pack.enqueue_many([Order(id=1, items=["saw"]), {"id": 2, "items": []}])
    assert await redis.zcard(keys.queue("default")) == 0


async def test_a_job_that_nobody_knows_is_a_lookup_error(client: Client) -> None:
    unknown = client.job("01a1fb3e-c9b6-7ba1-a6cf-febc51219219")
    for call in (unknown.status, unknown.cancel, unknown.result):
        with pytest.raises(LookupError, match="is known"):
            await call()
    with pytest.raises(LookupError):
        await anext(unknown.events())


async def test_a_job_in_a_queue_that_no_worker_has_published_is_waited_for_and_not_cancelled_elsewhere(
    client: Client, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "QUEUE_LOOK_S", 0.02)
    put = await Queue(redis, name="other", ended_ttl_s=60).enqueue("rare", {})
    job = client.job(put.job_id)
    with pytest.raises(LookupError, match="name its type"):
        await job.cancel()
    with pytest.raises(UnknownDependency):
        await pack.options(depends_on=[put.job_id]).enqueue(id=1, items=["saw"])
    waiting = asyncio.create_task(job.result(timeout_s=NEVER_S))
    await asyncio.sleep(0)
    await publish(redis, {"rare": {"queue": "other", "args_schema": {}}})
    await eventually(lambda: _is_cancelled(job))
    with pytest.raises(JobFailed):
        await waiting
    assert await redis.zcard(keys.queue("other")) == 0


async def _is_cancelled(job: JobHandle[Any]) -> bool:
    try:
        return await job.cancel() in ("cancelled", "ended")
    except LookupError:
        return False


async def test_without_a_connection_the_error_names_what_opens_one() -> None:
    with pytest.raises(RuntimeError, match=r"async with Client\(Settings.read"):
        await pack.enqueue(id=1, items=["saw"])


async def test_the_connection_that_was_opened_last_counts(
    client: Client, redis: ArqRedis, redis_url: str, settings: Settings
) -> None:
    async with Client(settings, redis_url=f"{redis_url}?db=1"):
        await pack.enqueue(id=1, items=["saw"])
    assert await redis.zcard(keys.queue("default")) == 0
    await pack.enqueue(id=2, items=["saw"])
    assert await redis.zcard(keys.queue("default")) == 1


@pytest.mark.usefixtures("usual_limits")
@pytest.mark.parametrize("away", [absent, silent])
async def test_redis_away_is_one_error_for_every_call(away: Away, settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    async with away(path), Client(settings, redis_url=f"unix://{path}") as client:
        job = client.job("01a1fb3e-c9b6-7ba1-a6cf-febc51219219")
        calls = (pack.enqueue(id=1, items=["saw"]), client.enqueue("pack", {}), job.status(), job.result())
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [QueueUnavailable] * 4


async def test_more_jobs_than_one_call_takes_are_refused(client: Client, redis: ArqRedis) -> None:
    with pytest.raises(ValueError, match="over the limit"):
        await pack.enqueue_many([{"id": 1, "items": ["saw"]}] * 10_001)
    assert await redis.zcard(keys.queue("default")) == 0
    assert await pack.enqueue_many([]) == []


async def test_a_wait_outlasts_a_cut_subscription(client: Client, worker: Worker, redis: ArqRedis) -> None:
    job = await pack.options(delay=0.5).enqueue(id=1, items=["saw"])
    waiting = asyncio.create_task(job.result(timeout_s=NEVER_S))
    events = job.events()
    assert (await anext(events)).status == "deferred"
    await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
    assert (await waiting, [event.status async for event in events][-1]) == (1, "succeeded")
