"""Hooks of dead jobs, on a real worker: called once Redis has it, whatever the job died of."""

from __future__ import annotations

import asyncio

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel, SecretStr

from errand import Context, DeadJob, Fail, job, on_dead
from errand.job.hooks import DeadHook
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.wire import keys
from errand.wire.limits import JobLimits
from errand.worker.hooks.dead import DeadHooks
from errand.worker.sweep import sweep
from tests.conftest import RunWorker
from tests.waiting import eventually
from tests.worker.test_worker import ended


class Order(BaseModel):
    id: int
    card: SecretStr = SecretStr("")


@job(max_tries=1)
async def charge(ctx: Context, args: Order) -> None:
    if args.id == 404:
        raise Fail(f"no order, card {args.card.get_secret_value()}")


@job()
async def other(ctx: Context, args: Order) -> None:
    raise Fail("no")


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def test_it_is_called_with_the_job_when_redis_has_it_and_each_has_its_turn(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue
) -> None:
    calls: list[tuple[str, DeadJob]] = []

    @on_dead(charge)
    async def of_charges(dead: DeadJob) -> None:
        calls.append(("of charges", dead))

    @on_dead()
    async def raises(dead: DeadJob) -> None:
        snapshot = await read_job(redis, dead.job_id)
        assert snapshot is not None
        calls.append((snapshot.status, dead))
        raise ValueError("a hook's fault")

    @on_dead(limit_s=0.05)
    async def hangs(dead: DeadJob) -> None:
        await asyncio.Event().wait()

    @on_dead()
    async def exits(dead: DeadJob) -> None:
        raise SystemExit(1)

    @on_dead()
    async def gives_up(dead: DeadJob) -> None:
        raise asyncio.CancelledError

    async with run_worker([charge, other], hooks=[of_charges, raises, hangs, exits, gives_up]):
        await ended(redis, (await queue.enqueue("charge", {"id": 1})).job_id)
        died = await queue.enqueue("charge", {"id": 404, "card": "4242"})
        await eventually(lambda: called(calls, 2))
        assert [name for name, _ in calls] == ["failed", "of charges"], "those for all types first"
        _, dead = calls[-1]
        assert (dead.job_id, dead.type, dead.queue, dead.attempt) == (died.job_id, "charge", "default", 1)
        assert dead.args == {"id": 404, "card": "**********"}
        assert (dead.error.type, dead.error.message) == ("Fail", "no order, card **********")
        calls.clear()
        await ended(redis, (await queue.enqueue("other", {"id": 1})).job_id)
        await eventually(lambda: called(calls, 1))
    assert [(name, dead.type) for name, dead in calls] == [("failed", "other")]
    assert not await redis.exists(keys.dead_hooks(keys.queue("default"))), "none is called once more"


async def called(calls: list[tuple[str, DeadJob]], number: int) -> bool:
    return len(calls) >= number


def noting(types: list[str]) -> DeadHook:
    @on_dead()
    async def note(dead: DeadJob) -> None:
        types.append(f"{dead.type}: {dead.error.type}")

    return note


async def test_a_job_that_dies_without_an_attempt_is_dead_as_well(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue
) -> None:
    died: list[str] = []
    await queue.enqueue("charge", {"id": "no number"}, job_id="a")
    await queue.enqueue("charge", {"id": 1}, job_id="b", limits=JobLimits(expires_in_ms=1))
    await queue.enqueue("nobody's", {"id": 1}, job_id="c", limits=JobLimits(expires_in_ms=1))
    await redis.set(keys.body("d"), b"no JSON")
    await redis.zadd(keys.queue(keys.DEFAULT_QUEUE), {"d": 1})
    await asyncio.sleep(0.01)  # the expiry is a time
    async with run_worker([charge], hooks=[noting(died)]):
        for job_id in "abcd":
            await ended(redis, job_id)
    expected = ["<unknown>: DeserializationError", "charge: Expired", "charge: InvalidArgs", "nobody's: Expired"]
    assert sorted(died) == expected, "a worker that stops has waited for them"


async def test_an_outcome_that_is_dropped_makes_no_job_dead(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue
) -> None:
    died: list[str] = []
    goes_on = asyncio.Event()

    @job(max_tries=1)
    async def loses(ctx: Context, args: Order) -> None:
        await goes_on.wait()
        raise Fail("no")

    async with run_worker([loses], hooks=[noting(died)], lease_s=3600) as worker:
        put = await queue.enqueue("loses", {"id": 1})
        await eventually(lambda: held(redis, put.job_id))
        await redis.set(keys.lease(put.job_id), "another")
        goes_on.set()

        async def idle() -> bool:
            return not worker.tasks and worker._finisher.idle

        await eventually(idle)
    assert died == []


async def held(redis: ArqRedis, job_id: str) -> bool:
    return bool(await redis.exists(keys.lease(job_id)))


async def test_hooks_that_a_worker_had_no_time_to_call_are_called_by_another(
    redis: ArqRedis, run_worker: RunWorker, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, DeadJob]] = []

    @on_dead()
    async def note(dead: DeadJob) -> None:
        calls.append((dead.type, dead))

    to_call = keys.dead_hooks(keys.queue("default"))
    with monkeypatch.context() as killed:
        killed.setattr(DeadHooks, "_start", lambda self, job: None)
        async with run_worker([charge], hooks=[note]):
            put = await queue.enqueue("charge", {"id": 404, "card": "4242"})
            await ended(redis, put.job_id)
    assert await redis.zscore(to_call, put.job_id) > 30_000 + (await redis.time())[0] * 1000, "the time of its worker"
    await redis.zadd(to_call, {put.job_id: 1, "forgotten": 1})
    monkeypatch.setattr(sweep, "EVERY_S", 0.02)
    async with run_worker([charge], hooks=[note]):
        await eventually(lambda: called(calls, 1))
        await eventually(lambda: is_gone(redis, to_call))
    ((_, dead),) = calls
    assert (dead.job_id, dead.args, dead.attempt) == (put.job_id, {"id": 404, "card": "**********"}, 1)
    assert dead.error.message == "no order, card **********"


async def is_gone(redis: ArqRedis, key: str) -> bool:
    return not await redis.exists(key)


def test_what_is_no_hook_is_refused_where_it_is_written() -> None:
    def blocks(dead: DeadJob) -> None: ...

    with pytest.raises(TypeError, match="blocks: a hook of dead jobs is an `async def`"):
        on_dead()(blocks)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write @on_dead\(\)"):
        on_dead(blocks)  # type: ignore[arg-type]
