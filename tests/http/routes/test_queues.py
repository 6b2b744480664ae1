"""Queues, workers and metrics: how much work there is, and which workers do it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.job.context import Context
from errand.job.job_type import job
from errand.queue.queue import Queue
from errand.version import VERSION
from errand.wire import keys
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.dying import die
from tests.http.answers_seen import problem_of
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing


class Held:
    """A job type whose jobs run until they are let go."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

        @job()
        async def held(ctx: Context, args: Nothing) -> None:
            await self.go_on.wait()

        self.job_type = held


@pytest.fixture
def queue(redis: ArqRedis) -> Queue:
    return Queue(redis, ended_ttl_s=60)


async def of_default(client: httpx.AsyncClient) -> dict[str, object]:
    shown = (await client.get("/v1/queues")).json()
    assert [view["name"] for view in shown] == ["default", "cpu", "mail", "webhooks"]
    view: dict[str, object] = shown[0]
    return view


async def test_a_queue_shows_its_depth_by_state_and_the_age_of_the_oldest_due_job(
    client: httpx.AsyncClient, queue: Queue, run_worker: RunWorker
) -> None:
    held = Held()
    async with run_worker([held.job_type], max_jobs=1):
        await queue.enqueue("held", {}, delay_ms=3_600_000)
        running = await queue.enqueue("held", {})

        async def runs() -> bool:
            return (await of_default(client))["in_progress"] == 1

        await eventually(runs)
        await queue.enqueue("held", {})
        shown = await of_default(client)
        assert {name: shown[name] for name in ("due", "deferred", "in_progress", "workers", "paused")} == {
            "due": 1,
            "deferred": 1,
            "in_progress": 1,
            "workers": 1,
            "paused": False,
        }
        assert isinstance(shown["oldest_due_s"], float) and 0 <= shown["oldest_due_s"] < 10
        stats = (await client.get("/v1/stats")).json()
        assert (stats["due"], stats["deferred"], stats["in_progress"], stats["workers"]) == (1, 1, 1, 1)
        (worker,) = (await client.get("/v1/workers")).json()
        assert (worker["pid"], worker["queues"]) == (os.getpid(), ["default"])
        assert [ran["id"] for ran in worker["running"]] == [running.job_id]
        assert (worker["version"], worker["slots"], worker["draining"]) == (VERSION, 1, False)
        assert 0 <= worker["loop_lag_ms"] < 10_000
        held.go_on.set()


async def test_a_queue_shows_what_ended_in_each_of_the_last_minutes(
    client: httpx.AsyncClient, redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    @job(max_tries=1)
    async def failing(ctx: Context, args: Nothing) -> None:
        raise ValueError("on purpose")

    @job()
    async def fine(ctx: Context, args: Nothing) -> None:
        pass

    this_minute = (await redis.time())[0] // 60
    minutes = keys.minutes(queue.key)
    await redis.hset(minutes, mapping={f"{this_minute - age} succeeded": age for age in range(5, 30)})  # type: ignore[misc]  # types both its clients
    async with run_worker([failing, fine], lease_s=1):
        await queue.enqueue_many("fine", [{}] * 20)
        await queue.enqueue("failing", {})

        async def reported() -> dict[int, dict[str, int]] | None:
            """All of them, which may take two heartbeats."""
            shown: list[dict[str, Any]] = (await of_default(client))["last_minutes"]  # type: ignore[assignment]
            by_age = {
                this_minute - int(datetime.fromisoformat(minute["at"]).timestamp()) // 60: minute["attempts"]
                for minute in shown
            }
            # of this minute, or of the next if it has started meanwhile
            now = [attempts for age, attempts in by_age.items() if age <= 0]
            counts = [sum(attempts.get(outcome, 0) for attempts in now) for outcome in ("succeeded", "failed")]
            return by_age if counts == [20, 1] else None

        by_age = await eventually(reported)
    assert list(by_age) == sorted(by_age) and max(by_age) < 15
    assert [by_age[age] for age in range(5, 14)] == [{"succeeded": age} for age in range(5, 14)]
    assert 0 < await redis.ttl(minutes) <= 15 * 60


async def test_what_ended_before_the_last_minutes_is_not_among_them(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    """Of a queue in which little ends more is kept, and a rate would be that of hours."""
    this_minute = (await redis.time())[0] // 60
    minutes = {f"{this_minute - age} succeeded": 30 for age in (3, 20, 600)}
    await redis.hset(keys.minutes(keys.queue(keys.DEFAULT_QUEUE)), mapping=minutes)  # type: ignore[misc]  # as above
    shown: list[dict[str, Any]] = (await of_default(client))["last_minutes"]  # type: ignore[assignment]
    assert [minute["attempts"] for minute in shown] == [{"succeeded": 30}]
    assert '<td class="n">2.0</td>' in (await client.get("/dashboard/queues")).text


async def test_a_blocked_event_loop_is_seen_at_its_worker_and_in_the_metrics(
    client: httpx.AsyncClient, queue: Queue, run_worker: RunWorker
) -> None:
    noticed = asyncio.Event()

    @job()
    async def blocking(ctx: Context, args: Nothing) -> None:
        # the timer is due each 0.2 s: once in each pause, and 0.1 s into each block, which is then over 0.4 s late
        while not noticed.is_set():
            time.sleep(0.5)  # noqa: ASYNC251  # what a job must not do
            await asyncio.wait([asyncio.create_task(noticed.wait())], timeout=0.3)

    async def lags() -> bool:
        workers = (await client.get("/v1/workers")).json()
        return any(worker["loop_lag_ms"] > 200 for worker in workers)

    async def lags_in_the_metrics() -> bool:
        text = (await client.get("/metrics")).text
        assert 'errand_worker_slots{queue="default"} 100' in text
        return float(re.findall(r'errand_event_loop_lag_seconds\{queue="default"\} (.*)', text)[0]) > 0.2

    async def is_over() -> bool:
        return not await lags()

    async with run_worker([blocking], lease_s=1):
        await queue.enqueue("blocking", {})
        await eventually(lags)
        await eventually(lags_in_the_metrics)
        noticed.set()
        await eventually(is_over)


async def test_a_worker_that_drains_says_so(client: httpx.AsyncClient, queue: Queue, run_worker: RunWorker) -> None:
    held = Held()
    async with run_worker([held.job_type], lease_s=1, job_completion_wait=30) as worker:
        await queue.enqueue("held", {})

        async def runs() -> bool:
            return (await of_default(client))["in_progress"] == 1

        await eventually(runs)
        worker.handle_sig_wait_for_completion(signal.SIGTERM)

        async def drains() -> bool:
            (shown,) = (await client.get("/v1/workers")).json()
            return bool(shown["draining"]) and shown["slots"] == 1

        await eventually(drains)
        held.go_on.set()


def test_the_version_is_that_of_the_package() -> None:
    text = Path(__file__).parents[3].joinpath("pyproject.toml").read_text()
    assert tomllib.loads(text)["project"]["version"] == VERSION


async def test_a_queue_and_the_metrics_say_how_many_jobs_are_dead(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    assert (await of_default(client))["dead"] == 0
    await die(redis, run_worker, [{}] * 3)
    assert (await of_default(client))["dead"] == 3
    assert 'errand_jobs_dead{queue="default"} 3' in (await client.get("/metrics")).text
    await client.post("/v1/dead-jobs/replay", json={"type": "fragile", "limit": 2})
    assert (await of_default(client))["dead"] == 1


async def test_nothing_to_do_has_no_age_and_no_workers(client: httpx.AsyncClient) -> None:
    shown = await of_default(client)
    assert (shown["due"], shown["oldest_due_s"], shown["workers"]) == (0, None, 0)
    assert (await client.get("/v1/workers")).json() == []
    assert (await client.get("/v1/stats")).json()["oldest_due_s"] is None


async def test_a_paused_queue_accepts_and_runs_nothing_until_it_is_resumed(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    held = Held()
    held.go_on.set()
    paused = await client.post("/v1/queues/default/pause")
    assert (paused.status_code, paused.json()["paused"]) == (200, True)
    put = await Queue(redis, ended_ttl_s=60).enqueue("held", {})
    async with run_worker([held.job_type]):

        async def worker_lives() -> bool:
            return bool((await of_default(client))["workers"])

        await eventually(worker_lives)
        assert (await of_default(client))["due"] == 1
        resumed = await client.post("/v1/queues/default/resume")
        assert resumed.json()["paused"] is False
        assert (await ended(redis, put.job_id)).status == "succeeded"


async def test_an_unknown_queue_is_named(client: httpx.AsyncClient) -> None:
    for verb in ("pause", "resume"):
        problem = problem_of(await client.post(f"/v1/queues/nope/{verb}"), 404, "unknown-queue")
        assert "default, cpu" in problem["detail"]


async def test_metrics_are_prometheus_text(
    client: httpx.AsyncClient, redis: ArqRedis, queue: Queue, run_worker: RunWorker
) -> None:
    held = Held()
    held.go_on.set()
    async with run_worker([held.job_type], lease_s=0.3):
        for _ in range(3):
            await ended(redis, (await queue.enqueue("held", {})).job_id)

        async def counted() -> str | None:
            text = (await client.get("/metrics")).text
            return text if 'errand_attempts_total{queue="default",outcome="succeeded"} 3' in text else None

        text = await eventually(counted)
    assert 'errand_run_seconds_bucket{queue="default",le="+Inf"} 3' in text
    assert 'errand_run_seconds_count{queue="default"} 3' in text
    assert 'errand_workers{queue="default"} 1' in text
    sample = re.compile(r'[a-z_]+\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\} -?[0-9.]+')
    for line in text.splitlines():
        assert line.startswith(("# HELP errand_", "# TYPE errand_")) or sample.fullmatch(line), line


async def test_to_pause_a_queue_needs_the_scope_admin(open_client: OpenClient, tmp_path: object) -> None:
    settings = make_settings(tmp_path, api_keys="0123456789abcdef:read+write")  # type: ignore[arg-type]  # a Path
    async with open_client(settings) as client:
        client.headers["authorization"] = "Bearer 0123456789abcdef"
        problem_of(await client.post("/v1/queues/default/pause"), 403, "forbidden")
        assert (await client.get("/v1/queues")).status_code == 200
