"""The last hour and the last day in minutes: counted by workers, kept in bounds, drawn."""

from __future__ import annotations

import time

import httpx
import pytest
from arq.connections import ArqRedis

from errand.dashboard.charts import overview, past
from errand.dashboard.history.day import BYTES_IN_HOUR, PastMinutes, read_history
from errand.dashboard.history.quantiles import quantile_ms
from errand.leases.leases import Leases
from errand.wire import keys
from errand.wire.counters import Counters
from errand.wire.minute_counts import COUNTERS, KEPT_MS, POSITIONS
from tests.dashboard.page_seen import seen

QUEUES = [keys.queue("default"), keys.queue("mail")]


async def test_a_heartbeat_adds_to_its_minute_in_a_bounded_string(redis: ArqRedis) -> None:
    for queue in QUEUES:
        leases = Leases(redis, queue=queue, worker="w", lease_s=1)
        for _ in range(2):
            await leases.renew({}, {"attempts:failed": 3, "run_ms:100": 2, "stale": 9, "blocked_ms:x": 9})
    for span in ("hour", "day"):
        history = await read_history([redis], QUEUES, span)
        assert len(history.points) == {"hour": 60, "day": 144}[span]
        assert {"attempts:failed": 12, "run_ms:100": 8} in history.points[-2:]
    (hour,) = [name async for name in redis.scan_iter(match=f"{keys.day_counts(QUEUES[0])}:*")]
    assert await redis.strlen(hour) <= BYTES_IN_HOUR
    assert 0 < await redis.pttl(hour) <= KEPT_MS


async def test_an_hour_ago_is_no_part_of_the_last_hour_but_of_the_day(redis: ArqRedis) -> None:
    minute = int(time.time() // 60) - 75
    begin = minute % 60 * len(COUNTERS) + POSITIONS["attempts:succeeded"]
    await redis.setrange(keys.hour_counts(QUEUES[0], minute // 60), begin * 4, (7).to_bytes(4))
    hour, day = [await read_history([redis], QUEUES, span) for span in ("hour", "day")]
    assert past.attempts(hour).totals == {} and past.attempts(day).totals == {"succeeded": 7}


async def test_what_another_program_has_written_is_read_in_bounds(redis: ArqRedis) -> None:
    hour = int(time.time() // 3_600)
    await redis.set(keys.hour_counts(QUEUES[0], hour), b"\xff" * (2 * BYTES_IN_HOUR + 3))
    chart = past.attempts(await read_history([redis], QUEUES, "hour"))
    assert "svg" in chart.svg


@pytest.mark.parametrize(
    ("counted", "share", "ms"),
    [
        *[({}, 0.5, None), ({"run_ms:100": 10}, 0.5, 75), ({"run_ms:1": 90, "run_ms:1000": 10}, 0.99, 950)],
        ({"run_ms:inf": 1}, 0.5, 300_000),
    ],
)
def test_quantiles_are_those_of_the_buckets(counted: dict[str, int], share: float, ms: float | None) -> None:
    assert quantile_ms(counted, "run_ms", share) == ms


async def test_charts_are_drawn_once_for_all_who_look_at_them_in_a_moment(
    client: httpx.AsyncClient, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(redis, queue=keys.queue("mail"), worker="w", lease_s=1)
    await leases.renew({}, {"attempts:succeeded": 3})
    assert "succeeded 3" in (await seen(client, "/dashboard")).text
    await leases.renew({}, {"attempts:succeeded": 4})
    assert "succeeded 3" in (await seen(client, "/dashboard")).text
    assert "succeeded 7" in (await seen(client, "/dashboard?span=day")).text
    monkeypatch.setattr(overview, "KEPT_S", 0)
    assert "succeeded 7" in (await seen(client, "/dashboard")).text


def test_lines_have_gaps_and_words() -> None:
    busy = {"wait_ms:10": 5}
    chart = past.times(PastMinutes("hour", [busy, busy, {}, busy], 1, 0), "wait_ms")
    assert chart.quantiles[0] == ("p50", "8 ms")
    assert chart.svg.count("M") == 6 and chart.svg.count("L") == 3


def test_every_counter_of_an_attempt_has_a_position() -> None:
    assert set(Counters().take()) <= set(POSITIONS) and len(POSITIONS) == len(COUNTERS) == 41
