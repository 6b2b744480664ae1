"""Reads what was counted in each minute, and adds minutes up to the points of a chart."""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from errand.redis.cluster.each import of_each
from errand.wire import keys
from errand.wire.minute_counts import BYTES_EACH, COUNTERS, MINUTES_IN_HOUR

Span = Literal["hour", "day"]

POINTS: Mapping[Span, tuple[int, int]] = {"hour": (60, 1), "day": (144, 10)}
"""How many points a chart of that span has, and how many minutes each."""

BYTES_IN_HOUR = MINUTES_IN_HOUR * len(COUNTERS) * BYTES_EACH


@dataclass(frozen=True, slots=True)
class PastMinutes:
    """What was counted in each point of a span, the oldest first."""

    span: Span
    points: Sequence[Mapping[str, int]]
    """Counters as in `minute_counts.COUNTERS`, by name; those that are 0 are left out."""
    minutes_each: int
    begins_ms: int
    """When the first point begins, in ms since the epoch."""


async def read_history(clients: Sequence[Redis], queues: Sequence[str], span: Span) -> PastMinutes:
    """The counts of these queues (their keys) in all partitions together, up to this minute."""
    number, minutes_each = POINTS[span]
    last = int(time.time() // 60)
    # points of ten minutes begin at full ten minutes, so that a bar does not change with each look
    end = (last // minutes_each + 1) * minutes_each
    begin = end - number * minutes_each
    hours = range(begin // MINUTES_IN_HOUR, last // MINUTES_IN_HOUR + 1)
    names = [keys.hour_counts(queue, hour) for queue in queues for hour in hours]
    of_parts = await of_each(clients, lambda redis: redis.mget(names))
    counts = _added([string for strings in of_parts for string in strings], hours=len(hours))
    first = (begin - hours[0] * MINUTES_IN_HOUR) * len(COUNTERS)
    step = minutes_each * len(COUNTERS)
    points = [_point(counts[first + at * step : first + (at + 1) * step]) for at in range(number)]
    return PastMinutes(span, points, minutes_each, begin * 60_000)


def _added(strings: Sequence[bytes | None], *, hours: int) -> array[int]:
    """The counters of all queues added up, hour after hour."""
    total = array("Q", bytes(8 * hours * MINUTES_IN_HOUR * len(COUNTERS)))
    for number, string in enumerate(strings):
        if string is None:
            continue
        counts = array("I")
        counts.frombytes(string[: min(len(string), BYTES_IN_HOUR) // BYTES_EACH * BYTES_EACH])
        if sys.byteorder == "little":
            counts.byteswap()
        begin = number % hours * MINUTES_IN_HOUR * len(COUNTERS)
        for position, count in enumerate(counts):
            if count:
                total[begin + position] += count
    return total


def _point(counts: array[int]) -> dict[str, int]:
    point: dict[str, int] = {}
    for position, count in enumerate(counts):
        if count:
            name = COUNTERS[position % len(COUNTERS)]
            point[name] = point.get(name, 0) + count
    return point
