"""Draws when the attempts of a job type would start if each failed at once: a dot for each, on a line of time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from errand.dashboard.charts.svg import drawing, element
from errand.dashboard.wording import duration
from errand.job.job_type import JobType
from errand.monitor.attempt_plan import offsets_ms

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT, MARGIN = 800, 40, 8

MAX_SHOWN = 100


@dataclass(frozen=True, slots=True)
class RetriesChart:
    """The picture, and the same in words."""

    svg: Markup
    words: str


def drawn(job_type: JobType[Any, Any]) -> RetriesChart:
    """The plan of a new job of that type, without jitter; its time is drawn to a root, so that the first are apart."""
    after_s = [offset / 1000 for offset in offsets_ms(job_type, started=0, max_tries=job_type.max_tries)][:MAX_SHOWN]
    first = ", ".join(duration(wait_s) for wait_s in after_s[1:7])
    more = ", …" if len(after_s) > 7 else ""
    words = f"Retried {first}{more} after the first attempt." if first else "It has one attempt and is not retried."
    title = f"{job_type.max_tries} attempts over {duration(after_s[-1])}"
    return RetriesChart(drawing(WIDTH, HEIGHT, title, _parts(after_s)), words)


def _parts(after_s: list[float]) -> Iterator[str]:
    scale = (WIDTH - 2 * MARGIN) / max(math.sqrt(after_s[-1]), 1)
    yield element("line", x1=MARGIN, x2=WIDTH - MARGIN, y1=HEIGHT / 2, y2=HEIGHT / 2, class_="axis")
    for number, wait_s in enumerate(after_s, start=1):
        title = element("title", f"attempt {number}: after {duration(wait_s)}")
        x = MARGIN + math.sqrt(wait_s) * scale
        yield element("rect", title, x=x - 2, y=HEIGHT / 2 - 8, width=4, height=16, class_="bar-run")
