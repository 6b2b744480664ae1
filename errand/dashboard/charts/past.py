"""Draws the past hour or day: attempts by outcome as bars, and quantiles of waits and runs as lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from errand.dashboard.charts.outcomes import KINDS
from errand.dashboard.charts.svg import drawing, element
from errand.dashboard.history.day import PastMinutes
from errand.dashboard.history.quantiles import SHOWN, Measure, quantile_ms
from errand.dashboard.wording import duration

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 900, 120

ATTEMPTS = "attempts:"

LEAST_MS, GREATEST_MS = 1.0, 300_000.0
"""The bounds of the lines' axis, which goes by powers of ten: a wait of 2 ms and one of a minute are both seen."""


@dataclass(frozen=True, slots=True)
class AttemptsChart:
    """The bars, and the same in numbers."""

    svg: Markup
    totals: Mapping[str, int]
    highest_per_minute: float


@dataclass(frozen=True, slots=True)
class TimesChart:
    """The lines, and the quantiles of the whole span in words, as (`p50`, `1.2 s`)."""

    svg: Markup
    quantiles: Sequence[tuple[str, str]]


def attempts(history: PastMinutes) -> AttemptsChart:
    """Attempts that ended, in a bar for each point."""
    bars = [_outcomes(point) for point in history.points]
    highest = max((bar.total() for bar in bars), default=0)
    totals = sum(bars, Counter[str]())
    per_minute = highest / history.minutes_each
    title = f"Attempts that ended in the last {history.span}, by outcome: {totals.total()} in all"
    return AttemptsChart(drawing(WIDTH, HEIGHT, title, _stacked(bars, highest)), totals, per_minute)


def times(history: PastMinutes, measure: Measure) -> TimesChart:
    """A line for each quantile; a gap where there was nothing."""
    lines = [
        element("line", x1=0, x2=WIDTH, y1=_height(ms), y2=_height(ms), class_="axis") for ms in (10, 1_000, 100_000)
    ]
    for share in SHOWN:
        values = [quantile_ms(point, measure, share) for point in history.points]
        lines += [element("path", d=" ".join(_path(values)), class_=f"line-p{share * 100:.0f}")]
    whole = sum((Counter(point) for point in history.points), Counter[str]())
    said = [(f"p{share * 100:.0f}", _said(quantile_ms(whole, measure, share))) for share in SHOWN]
    title = f"{'Waiting' if measure == 'wait_ms' else 'Run'} time in the last {history.span}: " + ", ".join(
        f"{name} {text}" for name, text in said
    )
    return TimesChart(drawing(WIDTH, HEIGHT, title, lines), said)


def _outcomes(point: Mapping[str, int]) -> Counter[str]:
    return Counter({name.removeprefix(ATTEMPTS): n for name, n in point.items() if name.startswith(ATTEMPTS)})


def _stacked(bars: Sequence[Counter[str]], highest: int) -> Iterator[str]:
    """A path for each outcome, with its part of every bar: a thousand elements would be most of the page."""
    width = WIDTH / len(bars)
    tops = [float(HEIGHT)] * len(bars)
    for outcome, kind in KINDS.items():
        parts = []
        for at, bar in enumerate(bars):
            if count := bar[outcome]:
                height = count / highest * HEIGHT
                tops[at] -= height
                parts.append(f"M{at * width + 0.5:.1f} {tops[at]:.1f}h{width - 1:.1f}v{height:.1f}h{1 - width:.1f}z")
        if parts:
            yield element("path", d="".join(parts), class_=f"bar-{kind}")


def _path(values: Sequence[float | None]) -> Iterator[str]:
    """A line through the middle of each point; one that stands alone is a dash."""
    width, drawing_on = WIDTH / len(values), False
    for at, value in enumerate(values):
        if value is None:
            drawing_on = False
            continue
        x, y = (at + 0.5) * width, _height(value)
        yield f"L{x:.1f} {y:.1f}" if drawing_on else f"M{x - width / 4:.1f} {y:.1f}H{x:.1f}"
        drawing_on = True


def _height(ms: float) -> float:
    share = math.log(max(ms, LEAST_MS) / LEAST_MS) / math.log(GREATEST_MS / LEAST_MS)
    return HEIGHT - share * HEIGHT


def _said(ms: float | None) -> str:
    return "none" if ms is None else duration(ms / 1000)
