"""Times of schedules become jobs, each once, even if they were missed, changed meanwhile, or do not fit any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel, Field
from structlog.testing import capture_logs

from errand.job.context import Context
from errand.job.job_type import JobType, job
from errand.job.schedule import Schedule, job_id_of
from errand.monitor.job_snapshot import read_job
from errand.redis.connection import connect
from errand.schedules.store import KeptSchedule, Schedules
from errand.schedules.ticker import Ticker
from errand.wire import keys
from tests.heard import so_far
from tests.waiting import eventually

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
NINE_MS = 1_780_304_400_000
"""2026-06-01T09:00:00Z"""
QUEUE = keys.queue(keys.DEFAULT_QUEUE)


class Report(BaseModel):
    of: str = "all"


class Strict(BaseModel):
    number: int


class Renamed(BaseModel):
    sender: str = Field(alias="from")


@job()
async def report(ctx: Context, args: Report) -> None: ...


KNOWN: dict[str, JobType[Any, Any]] = {"report": report}


@pytest.fixture
def kept(redis: ArqRedis) -> Schedules:
    return Schedules(redis)


@pytest.fixture
async def ticker(redis_url: str, redis: ArqRedis) -> AsyncIterator[Ticker]:
    async with aclosing(connect(redis_url, reply_timeout_s=5)) as client:
        yield Ticker(client, KNOWN)


async def put(kept: Schedules, schedule: Schedule, *, next_ms: int, name: str = "a", type_name: str = "report") -> None:
    """As if its next time were that one."""
    await kept.put(name, type_name, schedule, source="http")
    await kept._redis.zadd(keys.SCHEDULES, {name: next_ms})


async def read(kept: Schedules, name: str = "a") -> KeptSchedule:
    found = await kept.read(name)
    assert found is not None
    return found


async def jobs_put(redis: ArqRedis, queue: str = QUEUE) -> list[str]:
    return [name.decode() for name in await redis.zrange(queue, 0, -1)]


async def test_a_time_that_has_come_is_a_job_and_the_schedule_says_so(
    redis: ArqRedis, kept: Schedules, ticker: Ticker
) -> None:
    await put(kept, Schedule("*/15 * * * *", args={"of": "sales"}), next_ms=NINE_MS)
    assert await ticker.tick(now_ms=NINE_MS - 1) == 1
    assert await jobs_put(redis) == []
    assert await ticker.tick(now_ms=NINE_MS + 200) == 15 * MINUTE_MS - 200
    (job_id,) = await jobs_put(redis)
    put_job = await read_job(redis, job_id)
    assert put_job is not None and (put_job.type, put_job.args) == ("report", {"of": "sales"})
    assert (put_job.enqueued_at_ms, put_job.run_at_ms) == (NINE_MS + 200, NINE_MS + 200)
    fire = (await read(kept)).last_fire
    assert fire is not None and (fire.job_id, fire.due_ms, fire.fired_ms) == (job_id, NINE_MS, NINE_MS + 200)
    assert await redis.lrange(keys.wake(QUEUE), 0, -1) == [b"1"]  # type: ignore[misc]  # both clients, one type


@pytest.mark.parametrize("score", [1.5, float("-inf"), -1, 1e300], ids=str)
async def test_a_time_that_another_program_has_written_keeps_no_schedule_from_its_own(
    redis: ArqRedis, kept: Schedules, ticker: Ticker, score: float
) -> None:
    for name in ("odd", "b"):
        await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS, name=name)
    await redis.hset(keys.schedule("c"), mapping={"revision": b"\xff", "definition": b"{}"})  # type: ignore[misc]
    await redis.zadd(keys.SCHEDULES, {"odd": score, "c": 1})
    assert await ticker.tick(now_ms=NINE_MS) is not None
    assert job_id_of("b", NINE_MS) in await jobs_put(redis)


async def test_the_servers_clock_decides_if_no_other_is_given(redis: ArqRedis, kept: Schedules, ticker: Ticker) -> None:
    await kept.put("a", "report", Schedule("0 * * * *"), source="http")
    due_in_ms = await ticker.tick()
    coming_ms = (await read(kept)).next_ms or 0
    assert due_in_ms is not None and abs(coming_ms - await kept.now_ms() - due_in_ms) < 1000
    assert await jobs_put(redis) == []
    await redis.zadd(keys.SCHEDULES, {"a": await kept.now_ms()})
    await ticker.tick()
    assert len(await jobs_put(redis)) == 1


async def test_a_job_goes_to_the_queue_of_its_schedule_or_else_of_its_type(redis: ArqRedis, kept: Schedules) -> None:
    @job(queue="slow")
    async def slow(ctx: Context, args: Report) -> None: ...

    await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS, name="a", type_name="slow")
    await put(kept, Schedule("0 * * * *", queue="other"), next_ms=NINE_MS, name="b", type_name="slow")
    await Ticker(redis, {"slow": slow}).tick(now_ms=NINE_MS)
    assert await jobs_put(redis, keys.queue("slow")) == [job_id_of("a", NINE_MS)]
    assert await jobs_put(redis, keys.queue("other")) == [job_id_of("b", NINE_MS)]


async def test_a_schedule_that_heeds_the_limit_puts_no_job_into_a_full_queue(redis: ArqRedis, kept: Schedules) -> None:
    ticker = Ticker(redis, KNOWN, queue_limit=1)
    await put(kept, Schedule("0 * * * *", enforce=True), next_ms=NINE_MS, name="heeds")
    await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS, name="puts")
    await redis.zadd(QUEUE, {"other": 1})
    with capture_logs() as logs:
        await ticker.tick(now_ms=NINE_MS)
    assert await jobs_put(redis) == ["other", job_id_of("puts", NINE_MS)]
    assert ((await read(kept, "heeds")).problem, len(logs)) == ("its queue is full", 1)
    await redis.delete(QUEUE)
    await ticker.tick(now_ms=NINE_MS + HOUR_MS)
    assert job_id_of("heeds", NINE_MS + HOUR_MS) in await jobs_put(redis)
    assert (await read(kept, "heeds")).problem is None
    assert b"enforce" not in Schedule("0 * * * *").definition("report"), "earlier versions do not know it"


async def test_jitter_defers_the_job_not_the_schedule(redis: ArqRedis, kept: Schedules, ticker: Ticker) -> None:
    await put(kept, Schedule("0 * * * *", jitter_s=600), next_ms=NINE_MS)
    assert await ticker.tick(now_ms=NINE_MS) == HOUR_MS
    due_ms = await redis.zscore(QUEUE, job_id_of("a", NINE_MS))
    assert due_ms is not None and NINE_MS < due_ms <= NINE_MS + 600_000


@pytest.mark.parametrize(("misfire", "jobs"), [("skip", 0), ("run_once", 1)])
async def test_a_worker_that_was_down_for_an_hour_obeys_misfire(
    redis: ArqRedis, kept: Schedules, ticker: Ticker, misfire: Any, jobs: int
) -> None:
    await put(kept, Schedule("*/7 * * * *", misfire=misfire), next_ms=NINE_MS)
    back_ms = NINE_MS + 62 * MINUTE_MS
    due_in_ms = await ticker.tick(now_ms=back_ms)
    assert len(await jobs_put(redis)) == jobs
    found = await read(kept)
    assert found.next_ms == NINE_MS + 67 * MINUTE_MS == back_ms + (due_in_ms or 0)
    assert found.last_missed_ms == NINE_MS
    assert (found.last_fire is not None) == bool(jobs)


async def test_every_time_within_its_grace_becomes_a_job_when_a_tick_is_late(
    redis: ArqRedis, kept: Schedules, ticker: Ticker
) -> None:
    await put(kept, Schedule("* * * * *", grace_s=300), next_ms=NINE_MS)
    await ticker.tick(now_ms=NINE_MS + 3 * MINUTE_MS)
    assert await jobs_put(redis) == [job_id_of("a", NINE_MS + minute * MINUTE_MS) for minute in range(4)]


async def test_of_several_tickers_one_puts_the_job(redis: ArqRedis, redis_url: str, kept: Schedules) -> None:
    for number in range(50):
        await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS, name=f"s{number}")
    async with redis.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(keys.events(QUEUE))
        await heard.get_message(timeout=60)
        await asyncio.gather(*(Ticker(redis, KNOWN).tick(now_ms=NINE_MS) for _ in range(3)))
        told = await so_far(redis, keys.events(QUEUE), heard)
    assert sorted(told) == sorted(f"queued {job_id_of(f's{number}', NINE_MS)}" for number in range(50))


async def test_a_ticker_that_was_asleep_since_its_look_puts_nothing_again(
    redis: ArqRedis, kept: Schedules, ticker: Ticker
) -> None:
    await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS)
    (due,) = (await ticker.look(now_ms=NINE_MS)).due
    await Ticker(redis, KNOWN).tick(now_ms=NINE_MS)
    # its job has run and is forgotten meanwhile
    await redis.delete(QUEUE, keys.body(job_id_of("a", NINE_MS)))
    before = await read(kept)
    await ticker.take_turn(due, now_ms=NINE_MS)
    assert await jobs_put(redis) == []
    assert await read(kept) == before


async def test_a_time_whose_job_is_known_puts_no_second_one(redis: ArqRedis, kept: Schedules, ticker: Ticker) -> None:
    await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS)
    await redis.set(keys.result(job_id_of("a", NINE_MS)), "an outcome")
    await ticker.tick(now_ms=NINE_MS)
    assert await jobs_put(redis) == [] and (await read(kept)).next_ms == NINE_MS + HOUR_MS


@pytest.mark.parametrize("change", ["another definition", "paused", "removed"])
async def test_what_changes_between_look_and_turn_is_obeyed(
    redis: ArqRedis, kept: Schedules, ticker: Ticker, change: str
) -> None:
    await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS)
    (due,) = (await ticker.look(now_ms=NINE_MS)).due
    if change == "another definition":
        await put(kept, Schedule("0 9 * * *"), next_ms=NINE_MS)
    elif change == "paused":
        await kept.pause("a")
    else:
        await kept.remove(await read(kept))
    await ticker.take_turn(due, now_ms=NINE_MS)
    assert await jobs_put(redis) == []
    left = await kept.read("a")
    assert left is None or left.next_ms == (NINE_MS if change == "another definition" else None)
    assert await redis.exists(keys.SCHEDULES) == (change != "removed")


async def test_args_that_do_not_fit_any_more_become_a_problem_not_a_job(redis: ArqRedis, kept: Schedules) -> None:
    @job()
    async def changed(ctx: Context, args: Strict) -> None: ...

    await put(kept, Schedule("0 * * * *", args={"of": "x"}), next_ms=NINE_MS, type_name="changed")
    await Ticker(redis, {"changed": changed}).tick(now_ms=NINE_MS)
    found = await read(kept)
    assert await jobs_put(redis) == [] and found.next_ms == NINE_MS + HOUR_MS
    assert found.problem is not None and "do not fit changed any more: number: Field required" in found.problem
    await Ticker(redis, {"changed": report}).tick(now_ms=NINE_MS + HOUR_MS)
    assert (await read(kept)).problem is None and len(await jobs_put(redis)) == 1


async def test_args_are_kept_by_the_names_of_fields_and_fit_so(redis: ArqRedis, kept: Schedules) -> None:
    @job(schedule=Schedule("0 * * * *", args={"from": "ada"}))
    async def forward(ctx: Context, args: Renamed) -> None: ...

    ticker = Ticker(redis, {"forward": forward})
    await ticker.register()
    await redis.zadd(keys.SCHEDULES, {"forward": NINE_MS})
    await ticker.tick(now_ms=NINE_MS)
    put_job = await read_job(redis, job_id_of("forward", NINE_MS))
    assert put_job is not None and put_job.args == {"sender": "ada"}


async def test_schedules_of_unknown_types_wait_and_hold_up_no_others(
    redis: ArqRedis, kept: Schedules, ticker: Ticker
) -> None:
    for number in range(120):
        await put(kept, Schedule("30 * * * *"), next_ms=NINE_MS - 1, name=f"x{number}", type_name="unknown")
    await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS)
    with capture_logs() as logs:
        for _ in range(2):
            assert await ticker.tick(now_ms=NINE_MS) == HOUR_MS
    assert await jobs_put(redis) == [job_id_of("a", NINE_MS)]
    assert len([entry for entry in logs if "left to other workers" in entry["event"]]) == 120, "each is said once"
    assert (await read(kept, "x0")).next_ms == NINE_MS - 1
    await Ticker(redis, {"unknown": report}).tick(now_ms=NINE_MS)
    assert len(await jobs_put(redis)) == 121


async def test_one_schedules_fault_holds_up_no_others_and_loses_no_time(
    redis: ArqRedis, kept: Schedules, ticker: Ticker
) -> None:
    await redis.set(keys.queue("broken"), "no sorted set")
    await put(kept, Schedule("0 * * * *", queue="broken"), next_ms=NINE_MS, name="a")
    await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS, name="b")
    await put(kept, Schedule("0 * * * *"), next_ms=NINE_MS, name="c")
    await redis.hset(keys.schedule("c"), "definition", "unreadable")  # type: ignore[misc]  # both clients, one type
    await redis.zadd(keys.SCHEDULES, {"nothing left of it": NINE_MS})
    await ticker.tick(now_ms=NINE_MS)
    assert await jobs_put(redis) == [job_id_of("b", NINE_MS)]
    await redis.delete(keys.queue("broken"))
    await ticker.tick(now_ms=NINE_MS)
    assert await jobs_put(redis, keys.queue("broken")) == [job_id_of("a", NINE_MS)]
    assert await redis.zscore(keys.SCHEDULES, "nothing left of it") is None


async def test_those_that_were_moved_on_while_the_clock_was_far_ahead_go_on_once_it_is_right(
    kept: Schedules, ticker: Ticker
) -> None:
    now_ms = await kept.now_ms()
    far_ms, near_ms = now_ms + 365 * 24 * HOUR_MS, now_ms + 2 * HOUR_MS
    await ticker.tick(now_ms=far_ms - HOUR_MS)
    for name, next_ms in (("far", far_ms), ("near", near_ms), ("paused", far_ms)):
        await put(kept, Schedule("*/5 * * * *"), next_ms=next_ms, name=name)
    await kept.pause("paused")
    await ticker.tick()
    assert 0 < ((await read(kept, "far")).next_ms or 0) - now_ms <= HOUR_MS
    assert (await read(kept, "near")).next_ms == near_ms, "as after a small step: no time comes twice"
    assert (await read(kept, "paused")).next_ms is None
    await put(kept, Schedule("*/5 * * * *"), next_ms=far_ms, name="far")
    await ticker.register()  # a worker that starts has not seen the clock before
    assert 0 < ((await read(kept, "far")).next_ms or 0) - now_ms <= HOUR_MS


async def test_schedules_in_code_are_kept_updated_and_removed_by_processes_that_know_the_type(
    redis: ArqRedis, kept: Schedules
) -> None:
    def code(*schedules: Schedule, name: str = "report") -> Ticker:
        @job(schedule=schedules)
        async def report(ctx: Context, args: Report) -> None: ...

        return Ticker(redis, {name: report})

    daily, hourly = Schedule("0 0 * * *", id="a"), Schedule("0 * * * *", id="b")
    await kept.put("mine", "report", Schedule("0 * * * *"), source="http")
    await code(daily, hourly).register()
    assert [(found.id, found.source) for found in await kept.all()] == [("a", "code"), ("b", "code"), ("mine", "http")]
    await redis.zadd(keys.SCHEDULES, {"a": 1})
    await kept.pause("b")
    await code(daily, Schedule("5 * * * *", id="b")).register()
    assert (await read(kept, "a")).next_ms == 1, "a restart does not forget what is due"
    changed = await read(kept, "b")
    assert changed.schedule.cron == "5 * * * *" and changed.paused
    await code(name="another").register()
    assert len(await kept.all()) == 3
    await code(daily).register()
    assert [found.id for found in await kept.all()] == ["a", "mine"]


async def test_a_schedule_of_the_code_that_is_too_large_holds_up_no_others(redis: ArqRedis, kept: Schedules) -> None:
    @job(schedule=[Schedule("0 * * * *", id="a", args={"of": "x" * 70_000}), Schedule("0 * * * *", id="b")])
    async def report(ctx: Context, args: Report) -> None: ...

    with capture_logs() as said:
        await Ticker(redis, {"report": report}).register()
    assert [found.id for found in await kept.all()] == ["b"]
    assert [line["schedule"] for line in said if line["log_level"] == "error"] == ["a"]


async def test_code_does_not_take_the_id_of_a_schedule_made_over_http(redis: ArqRedis, kept: Schedules) -> None:
    @job(schedule="0 * * * *")
    async def report(ctx: Context, args: Report) -> None: ...

    await kept.put("report", "report", Schedule("5 5 * * *"), source="http")
    with capture_logs() as logs:
        await Ticker(redis, {"report": report}).register()
    assert (await read(kept, "report")).schedule.cron == "5 5 * * *"
    assert [entry["reason"] for entry in logs if entry["log_level"] == "error"] == [
        "its id is taken by one made over HTTP"
    ]


async def test_a_sleeping_ticker_is_woken_by_a_new_schedule(redis: ArqRedis, kept: Schedules, redis_url: str) -> None:
    async with aclosing(connect(redis_url, reply_timeout_s=5)) as client:
        async with Ticker(client, KNOWN, poll_s=60).running():

            async def listens() -> bool:
                return bool((await redis.pubsub_numsub(keys.SCHEDULES_CHANGED))[0][1])

            await eventually(listens)
            await kept.put("a", "report", Schedule("* * * * * *"), source="http")
            first_ms = (await read(kept)).next_ms or 0

            async def two_jobs() -> list[str] | None:
                put_jobs = await jobs_put(redis)
                return put_jobs if len(put_jobs) == 2 else None

            assert await eventually(two_jobs) == [job_id_of("a", first_ms), job_id_of("a", first_ms + 1000)]
            fire = (await read(kept)).last_fire
            assert fire is not None and fire.fired_ms - fire.due_ms < 500


async def test_a_ticker_goes_on_after_its_connections_were_cut(
    redis: ArqRedis, kept: Schedules, redis_url: str
) -> None:
    async with aclosing(connect(redis_url, reply_timeout_s=5)) as client:
        async with Ticker(client, KNOWN, poll_s=0.2).running():
            await kept.put("a", "report", Schedule("* * * * * *"), source="http")

            async def some_jobs() -> bool:
                return len(await jobs_put(redis)) > 0

            await eventually(some_jobs)
            for kind in ("normal", "pubsub"):
                await redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")  # type: ignore[no-untyped-call]
            await redis.delete(QUEUE)
            await eventually(some_jobs)
