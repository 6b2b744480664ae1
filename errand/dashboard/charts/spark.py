"""Draws a spark line: how many there were in each step of a time, without an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from errand.dashboard.charts.svg import drawing, element

if TYPE_CHECKING:
    from markupsafe import Markup

STEP_WIDTH, HEIGHT = 4, 24

MIN_HEIGHT = 2.0
"""Of a step with anything in it: one beside a thousand is seen too."""


def drawn(counts: Sequence[int], title: str) -> Markup:
    """A bar for each count, the highest as high as the picture."""
    highest = max(counts, default=0)
    bars = []
    for at, count in enumerate(counts):
        if count:
            height = max(count / highest * HEIGHT, MIN_HEIGHT)
            bars.append(
                element(
                    "rect", x=at * STEP_WIDTH, y=HEIGHT - height, width=STEP_WIDTH - 1, height=height, class_="bar-bad"
                )
            )
    return drawing(STEP_WIDTH * len(counts), HEIGHT, title, bars)
