"""What a test of an app may do with its jobs: see them, run them, move their time, have their attempts die."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

from errand import Client, Context, Depends, Settings, Snooze, job
from errand.client.published_types import publish
from errand.redis.connection import connect
from errand.testing import JobsUnderTest
from tests.waiting import NEVER_S

ROOT = Path(__file__).parent.parent.parent

DONE: list[str] = []


class Name(BaseModel):
    name: str = ""


@asynccontextmanager
async def press(settings: Settings) -> AsyncIterator[str]:
    yield "press"


@job(queue="cpu", uses=[press])
async def printed(ctx: Context, args: Name) -> str:
    return f"{ctx.use(press)} {args.name}"


@job(max_tries=2)
async def stubborn(ctx: Context, args: Name) -> None:
    raise ValueError("never")


@job()
async def endless(ctx: Context, args: Name) -> None:
    await endless.enqueue()


@job(max_tries=2)
async def followed(ctx: Context, args: Name) -> None:
    ctx.add_task(printed, name=f"after attempt {ctx.attempt}")
    ctx.add_task(printed.options(delay="1h"), Name(name="later"))
    if ctx.attempt == 1 or args.name:
        raise ValueError(args.name)


@job()
async def put_off(ctx: Context, args: Name) -> None:
    if not DONE:
        DONE.append("asked")
        raise Snooze("not now", after_s=60)


@job(rate="2/h")
async def paced(ctx: Context, args: Name) -> None:
    """No more than two an hour."""


@job()
async def steps(ctx: Context, args: Name) -> None:
    """Waits three times; its effect between the second and the third is not guarded."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    DONE.append("paid")
    await asyncio.sleep(0)


def currency() -> str:
    return "EUR"


@job()
async def priced(ctx: Context, args: Name, currency: Annotated[str, Depends(currency)]) -> str:
    return currency


@job()
async def careful(ctx: Context, args: Name) -> None:
    payment = await ctx.once("payment")
    if not payment.done and not payment.started:
        await payment.start()
        DONE.append("paid")
        await payment.finish()


@pytest.fixture(autouse=True)
def nothing_done() -> None:
    DONE.clear()


@pytest.fixture
async def client(jobs: JobsUnderTest, errand_settings: Settings) -> AsyncIterator[Client]:
    async with Client(errand_settings) as opened:
        yield opened


async def test_what_was_put_is_seen_and_runs_with_all_that_it_uses(client: Client, jobs: JobsUnderTest) -> None:
    await printed.enqueue(name="a")
    await stubborn.enqueue()
    assert jobs.added == [("printed", {"name": "a"}), ("stubborn", {})]
    assert jobs.added_of(printed) == [Name(name="a")]
    ran = {job.type: job for job in await jobs.run_all()}
    assert (ran["printed"].result, ran["printed"].queue) == ("press a", "cpu")
    assert (ran["stubborn"].status, ran["stubborn"].attempt) == ("failed", 2)
    # both have ended and are still seen; nothing is left to run
    assert (len(jobs.added), await jobs.run_all()) == (2, [])


async def test_time_moves_for_jobs_expiries_and_unique_keys(client: Client, jobs: JobsUnderTest) -> None:
    await printed.options(delay="1h").enqueue(name="later")
    await printed.options(delay="2h", expires_in="90m").enqueue(name="too late")
    await printed.options(unique_key="one", unique_for="30m", delay="1d").enqueue(name="one")
    assert await jobs.run_all() == []
    jobs.move_time("30m")
    assert not (await printed.options(unique_key="one", delay="1d").enqueue(name="another")).existing
    jobs.move_time(timedelta(minutes=30))
    assert [job.result for job in await jobs.run_all()] == ["press later"]
    jobs.move_time("1h")
    (expired,) = await jobs.run_all()
    assert expired.error is not None and expired.error.type == "Expired"


async def test_time_moves_for_rates_and_for_jobs_that_wait(client: Client, jobs: JobsUnderTest) -> None:
    first, second = [await paced.options(delay=f"{minutes}m").enqueue() for minutes in (0, 30)]
    at = datetime.now(UTC) + timedelta(hours=2)
    late = await paced.options(run_at=at, depends_on=[first]).enqueue(name="late")
    await jobs.run_all()
    jobs.move_time("30m")
    await jobs.run_all()
    assert [await each.status() for each in (first, second)] == ["succeeded"] * 2
    third = await paced.enqueue()
    assert await jobs.run_all() == [], "two have started within the hour"
    jobs.move_time("30m")
    assert [job.id for job in await jobs.run_all()] == [third.id], "the first start is an hour old, the second is not"
    jobs.move_time("1h")
    assert [job.id for job in await jobs.run_all()] == [late.id]


async def test_jobs_are_seen_in_the_order_in_which_they_were_put(client: Client, jobs: JobsUnderTest) -> None:
    for job_id in ("z", "a"):
        await printed.options(job_id=job_id).enqueue(name=job_id)
        await asyncio.sleep(0.002)  # a time that ids of one's own do not have
    await printed.enqueue(name="last")
    assert [args.name for args in jobs.added_of(printed)] == ["z", "a", "last"]


async def test_follow_ups_are_put_with_success_alone(client: Client, jobs: JobsUnderTest) -> None:
    await followed.enqueue(name="always fails")
    await jobs.run_all()
    assert jobs.added_of(printed) == []
    await followed.enqueue()
    done, after = await jobs.run_all()
    assert (done.attempt, after.result) == (2, "press after attempt 2")
    assert jobs.added_of(printed) == [Name(name="after attempt 2"), Name(name="later")]


async def test_a_dependency_is_overridden(client: Client, jobs: JobsUnderTest) -> None:
    with jobs.override(currency, lambda: "USD"):
        await priced.enqueue()
        assert [job.result for job in await jobs.run_all()] == ["USD"]


async def test_a_job_that_was_put_back_waits_for_its_time(client: Client, jobs: JobsUnderTest) -> None:
    await put_off.enqueue()
    assert [job.status for job in await jobs.run_all()] == ["deferred"]
    jobs.move_time(60)
    assert [job.status for job in await jobs.run_all()] == ["succeeded"]


async def test_a_death_at_each_await_shows_an_effect_that_is_not_guarded(client: Client, jobs: JobsUnderTest) -> None:
    seen = []
    async for number in jobs.dying_at_each_await():
        DONE.clear()
        await steps.enqueue()
        await jobs.run_all()
        seen.append((number, DONE.count("paid")))
    assert seen == [(1, 1), (2, 1), (3, 2), (4, 1)]
    async for _ in jobs.dying_at_each_await():
        DONE.clear()
        await careful.enqueue()
        (done,) = await jobs.run_all()
        assert (done.status, DONE.count("paid") <= 1) == ("succeeded", True)


async def test_a_death_at_an_effect_is_a_lost_worker_to_the_next_attempt(client: Client, jobs: JobsUnderTest) -> None:
    await careful.enqueue()
    with jobs.fail_at("payment"):
        (done,) = await jobs.run_all()
    assert ([attempt.outcome for attempt in done.attempts], DONE) == (["lost", "succeeded"], [])
    with pytest.raises(AssertionError, match="no attempt came"), jobs.fail_at("pay"):
        await jobs.run_all()


async def test_what_cannot_end_is_an_error(
    client: Client, jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.testing.jobs_under_test.MAX_ROUNDS", 5)
    await endless.enqueue()
    with pytest.raises(RuntimeError, match="after 5 rounds"):
        await jobs.run_all()
    jobs.clear()
    redis = connect(jobs.url, reply_timeout_s=NEVER_S)
    await publish(redis, {"nobodys": {"queue": "default", "args_schema": {}}})
    await redis.aclose()
    await client.enqueue("nobodys")
    with pytest.raises(LookupError, match="unknown type nobodys"):
        await jobs.run_all()


def test_the_tests_of_the_bookshop_pass_with_ten_lines_of_set_up() -> None:
    # without plugins that take longer to load than these tests to run
    without = [option for name in ("schemathesis", "hypothesispytest", "xdist") for option in ("-p", f"no:{name}")]
    options = ["-o", "addopts=", "-p", "errand.testing.plugin", *without, "-q", "examples/bookshop"]
    command = [sys.executable, "-m", "pytest", *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "5 passed" in run.stdout, run.stdout
    lines = Path(ROOT, "examples/bookshop/conftest.py").read_text().partition("\n@")[2].splitlines()
    assert len([line for line in lines if line.strip()]) <= 10
