"""Draws a job's attempts on a line of time: waited, ran, waited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from errand.dashboard.charts.outcomes import KINDS
from errand.dashboard.charts.svg import drawing, element
from errand.http.answers.job_view import JobView

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT, BAR_Y, BAR_HEIGHT = 800, 34, 8, 18

MIN_WIDTH = 3.0
"""Of an attempt that was too short to be seen beside the waits."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the line."""

    kind: str
    begin: datetime
    end: datetime
    says: str


def drawn(job: JobView) -> Markup | None:
    """The picture; None for a job that nothing has happened to yet."""
    spans = list(_spans(job))
    if not job.attempts and job.status != "in_progress":
        return None
    begin, end = spans[0].begin, max(span.end for span in spans)
    scale = WIDTH / max((end - begin).total_seconds(), 0.001)
    parts = [_bar(span, (span.begin - begin).total_seconds() * scale, scale) for span in spans]
    title = f"Line of time of {len(job.attempts)} ended attempts"
    return drawing(WIDTH, HEIGHT, title, parts)


def _spans(job: JobView) -> Iterator[Span]:
    at = job.enqueued_at
    for attempt in job.attempts:
        yield Span("wait", at, attempt.started_at, "waited")
        says = f"attempt {attempt.number}: {attempt.outcome}"
        yield Span(KINDS.get(attempt.outcome, "off"), attempt.started_at, attempt.ended_at, says)
        at = attempt.ended_at
    if not job.finished_at:
        now = datetime.now(UTC)
        if job.status == "in_progress" and job.started_at and job.started_at >= at:
            yield Span("wait", at, job.started_at, "waited")
            yield Span("run", job.started_at, max(now, job.started_at), "runs")
        else:
            yield Span("wait", at, max(now, at), "waits")


def _bar(span: Span, x: float, scale: float) -> str:
    width = max((span.end - span.begin).total_seconds() * scale, 0.0 if span.kind == "wait" else MIN_WIDTH)
    title = element("title", span.says)
    x = min(x, WIDTH - width)
    return element("rect", title, x=x, y=BAR_Y, width=width, height=BAR_HEIGHT, class_=f"bar-{span.kind}")
