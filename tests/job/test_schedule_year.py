"""A year of schedules over the changes of the clocks in three zones, on a clock that the test winds: real Redis, real
scripts, three workers that tick at once, two of which die in the middle of a tick.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from arq.connections import ArqRedis
from cronsim import CronSim
from pydantic import BaseModel

from errand.job.context import Context
from errand.job.job_type import job
from errand.job.schedule import Schedule, job_id_of
from errand.redis.connection import connect
from errand.schedules.ticker import Ticker
from errand.wire import keys
from tests.heard import so_far

BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
DEATHS = [datetime(2026, 3, 29, 4, tzinfo=UTC), datetime(2026, 11, 1, 9, tzinfo=UTC)]
"""In the middle of the tick that makes up for the hours in which the clocks changed in Berlin, and in New York."""
SLEPT = timedelta(hours=6)
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
"""The last one's clocks change by half an hour, and in the south: forward in October, back in April."""
EXPRESSIONS = {
    "around-the-clock": "0 */8 * * *",
    "in-the-gap": "15,45 2 * * *",
    "twice-a-year-twice": "30 1 * * *",
    "every-so-often": "*/30 1,2 * * *",
    "by-the-second": "30 10 2 * * *",
    "sundays": "0 0 * * SUN",
}
LONGEST_STEP_MINUTES = 600
SKEW_MS = 90_000
QUEUE = keys.queue(keys.DEFAULT_QUEUE)


class Nothing(BaseModel): ...


@job(
    schedule=[
        Schedule(expression, timezone=zone, grace_s=86_400, id=f"{name}-{zone.replace('/', '_')}")
        for name, expression in EXPRESSIONS.items()
        for zone in ZONES
    ]
)
async def chime(ctx: Context, args: Nothing) -> None: ...


def ms(at: datetime) -> int:
    return int(at.timestamp()) * 1000


def named_by_cronsim(schedule: Schedule) -> list[int]:
    """The year's times, from one run of cronsim's own iterator."""
    times = []
    for named in CronSim(schedule.cron, BEGIN.astimezone(ZoneInfo(schedule.timezone))):
        if ms(named) >= ms(END):
            break
        times.append(ms(named))
    return times


@pytest.fixture
async def tickers(redis: ArqRedis, redis_url: str) -> AsyncIterator[list[Ticker]]:
    """Three, each with connections of its own, and the schedules kept as if that had been done on New Year's Eve."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(aclosing(connect(redis_url, reply_timeout_s=5))) for _ in range(3)]
        tickers = [Ticker(client, {chime.name: chime}) for client in clients]
        await tickers[0].register()
        first = {str(schedule.id): float(schedule.next_after(ms(BEGIN)) or 0) for schedule in chime.schedules}
        await redis.zadd(keys.SCHEDULES, first)
        yield tickers


async def die_in_the_middle(ticker: Ticker, now_ms: int, rng: random.Random) -> None:
    """A tick that is cut off at some call to Redis, whose answer it does not see."""
    ticking = asyncio.create_task(ticker.tick(now_ms=now_ms))
    for _ in range(rng.randint(5, 20)):  # if Redis' answers are there at once, a tick takes few turns of the loop
        await asyncio.sleep(0)
    assert not ticking.done(), "it died in its bed"
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)


async def tick_through_the_year(redis: ArqRedis, tickers: list[Ticker], rng: random.Random) -> None:
    """Any of those that live, at any time; the last two in the list die."""
    now, deaths = BEGIN, list(DEATHS)
    while now < END:
        now += timedelta(minutes=rng.randint(1, LONGEST_STEP_MINUTES))
        dying = None
        if deaths and now > deaths[0] - SLEPT:
            now, dying = deaths.pop(0), tickers.pop()
        awake = rng.sample(tickers, rng.randint(1, len(tickers)))
        # the clock of a Redis that fails over may jump
        ticks = [ticker.tick(now_ms=ms(min(now, END)) - 1 - rng.randint(0, SKEW_MS)) for ticker in awake]
        if dying is not None:
            ticks.insert(0, die_in_the_middle(dying, ms(now), rng))
        await asyncio.gather(*ticks)
        # as if all had run and were forgotten: a job that is known protects its time from becoming another
        put = [name.decode() for name in await redis.zrange(QUEUE, 0, -1)]
        await redis.delete(QUEUE, *map(keys.body, put))
    await tickers[0].tick(now_ms=ms(END) - 1)


@pytest.mark.timeout(300)
async def test_a_year_fires_what_cronsim_names_once_with_two_of_three_workers_killed(
    redis: ArqRedis, tickers: list[Ticker]
) -> None:
    async with redis.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(keys.events(QUEUE))
        await heard.get_message(timeout=60)
        await tick_through_the_year(redis, tickers, random.Random(2026))
        puts = Counter(said.partition(" ")[2] for said in await so_far(redis, keys.events(QUEUE), heard))
    assert len(tickers) == 1
    for schedule in chime.schedules:
        named = [job_id_of(str(schedule.id), at_ms) for at_ms in named_by_cronsim(schedule)]
        fired = sorted(job_id for job_id in puts if job_id.startswith(f"{schedule.id}-"))
        assert fired == named
    assert set(puts.values()) == {1} and len(puts) > 10_000
