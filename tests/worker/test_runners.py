"""The choice of the runner: job types and plain Arq functions beside each other in one worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import func

from errand.leases.leases import Finish
from errand.wire import keys
from tests.conftest import running_worker
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import QUEUE, noting

DAY_S = 86_400


async def plain(ctx: dict[str, Any]) -> str:
    return str(ctx["job_id"])


async def test_a_plain_function_beside_job_types_ends_as_arq_ends_it_even_if_it_is_not_started(
    redis: ArqRedis, redis_url: str
) -> None:
    ran: list[str] = []
    run = await redis.enqueue_job("plain", _job_id="run")
    await redis.enqueue_job("plain", _job_id="out-of-tries", _job_try=9)
    await redis.enqueue_job("note", _job_id="out-of-tries-too", _job_try=9)
    assert run is not None
    async with running_worker(
        redis_url, functions=[func(plain, name="plain")], job_types=[noting(ran)], dead_ttl_s=DAY_S
    ) as worker:
        assert await run.result(timeout=60, poll_delay=0.05) == "run"
        for job_id in ("out-of-tries", "out-of-tries-too"):
            assert (await ended(redis, job_id)).status == "failed"
        assert (worker.jobs_complete, worker.jobs_failed, worker.jobs_retried) == (1, 2, 0)
    kept_s = {job_id: await redis.ttl(keys.result(job_id)) for job_id in ("run", "out-of-tries", "out-of-tries-too")}
    assert kept_s["run"] <= 3600 and kept_s["out-of-tries"] <= 3600, "Arq's keep_result"
    assert kept_s["out-of-tries-too"] > 3600, "dead_ttl_s"
    dead = {entry.split()[-1] for entry in await redis.zrange(keys.dead_by_group(QUEUE), 0, -1)}
    assert dead == {b"out-of-tries-too"}
    assert ran == []


async def test_a_plain_job_whose_hook_keeps_raising_ends_with_its_error_when_its_tries_are_used_up(
    redis: ArqRedis, redis_url: str
) -> None:
    async def on_job_start(ctx: dict[str, Any]) -> None:
        raise ValueError("a hook's fault")

    await redis.enqueue_job("plain", _job_id="run")
    async with running_worker(
        redis_url, functions=[func(plain, name="plain")], on_job_start=on_job_start, max_tries=1
    ) as worker:
        done = await ended(redis, "run")
        assert (worker.jobs_failed, worker.jobs_retried) == (1, 0)
    assert done.error is not None and "a hook's fault" in done.error.message


async def test_a_last_hook_that_raises_leaves_the_outcome_as_it_was_written(redis: ArqRedis, redis_url: str) -> None:
    raised = asyncio.Event()

    async def after_job_end(ctx: dict[str, Any]) -> None:
        raised.set()
        raise ValueError("a hook's fault")

    await redis.enqueue_job("plain", _job_id="run")
    async with running_worker(
        redis_url,
        functions=[func(plain, name="plain")],
        job_types=[noting([])],
        after_job_end=after_job_end,
        max_tries=1,
    ) as worker:
        await asyncio.wait_for(raised.wait(), 60)

        async def idle() -> bool:
            return not worker.tasks and worker._finisher.idle

        await eventually(idle)
        assert (worker.jobs_complete, worker.jobs_failed) == (1, 0)
    assert (await ended(redis, "run")).status == "succeeded"
    assert not await redis.hget(keys.counters(QUEUE), "stale")  # type: ignore[misc]  # redis-py's typing


async def test_a_heartbeat_between_the_write_of_an_outcome_and_its_answer_takes_no_lease_for_lost(
    redis: ArqRedis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    last_hook = asyncio.Event()

    async def after_job_end(ctx: dict[str, Any]) -> None:
        last_hook.set()

    async with running_worker(
        redis_url, functions=[func(plain, name="plain")], after_job_end=after_job_end, max_tries=1
    ) as worker:
        written = worker._leases.finish

        async def answered_late(outcomes: Sequence[Finish]) -> Sequence[bool]:
            answer = await written(outcomes)
            await worker._heartbeat.renew()
            return answer

        monkeypatch.setattr(worker._leases, "finish", answered_late)
        await redis.enqueue_job("plain", _job_id="run")
        await asyncio.wait_for(last_hook.wait(), 60)
        await worker._heartbeat.renew()
    assert await redis.hget(keys.counters(QUEUE), "leases_lost") is None  # type: ignore[misc]  # redis-py's typing
