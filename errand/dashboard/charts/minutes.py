"""Draws the attempts of the last minutes: a bar for each, in parts by outcome."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from errand.dashboard.charts.outcomes import KINDS
from errand.dashboard.charts.svg import drawing, element
from errand.monitor.queues import QueueState

if TYPE_CHECKING:
    from markupsafe import Markup

MINUTES = 15

WIDTH, HEIGHT = 600, 120

GAP = 4


@dataclass(frozen=True, slots=True)
class MinutesChart:
    """The picture, and the numbers for who cannot see it."""

    svg: Markup
    totals: Mapping[str, int]
    highest: int


def drawn(queues: Sequence[QueueState]) -> MinutesChart:
    """The attempts that ended in the last minutes, in all of these queues together."""
    this_minute_ms = int(time.time() // 60) * 60_000
    minutes = [_in_minute(queues, this_minute_ms - back * 60_000) for back in range(MINUTES - 1, -1, -1)]
    totals = sum(minutes, Counter[str]())
    highest = max((minute.total() for minute in minutes), default=0)
    title = f"Attempts that ended in each of the last {MINUTES} minutes, at most {highest} in one"
    bars = [bar for position, minute in enumerate(minutes) for bar in _bars(position, minute, highest)]
    return MinutesChart(drawing(WIDTH, HEIGHT, title, bars), totals, highest)


def _in_minute(queues: Sequence[QueueState], at_ms: int) -> Counter[str]:
    counted: Counter[str] = Counter()
    for queue in queues:
        counted.update(queue.last_minutes.get(at_ms, {}))
    return counted


def _bars(position: int, minute: Counter[str], highest: int) -> Iterator[str]:
    width, bottom = WIDTH / MINUTES, float(HEIGHT)
    for outcome in sorted(minute, key=lambda name: list(KINDS).index(name) if name in KINDS else len(KINDS)):
        height = minute[outcome] / max(highest, 1) * HEIGHT
        bottom -= height
        yield element(
            "rect",
            x=position * width + GAP / 2,
            y=bottom,
            width=width - GAP,
            height=height,
            class_=f"bar-{KINDS.get(outcome, 'off')}",
        )
