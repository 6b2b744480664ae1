"""Keeps the charts of the overview for a moment: they are most of what that page costs, and many may look at it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastapi import FastAPI
from redis.asyncio import Redis

from errand.dashboard.charts import past
from errand.dashboard.charts.past import AttemptsChart, TimesChart
from errand.dashboard.history.day import PastMinutes, Span, read_history
from errand.http.shared import Shared, in_time

KEPT_S = 2.0
"""Workers count into them with each heartbeat, every three seconds."""


@dataclass(frozen=True, slots=True)
class PastCharts:
    """Of one span."""

    attempts: AttemptsChart
    waits: TimesChart
    runs: TimesChart
    drawn_s: float
    """On the monotonic clock."""
    redis: Redis
    """What they were read from: an API that has been opened again has another one."""

    @classmethod
    def drawn(cls, history: PastMinutes, redis: Redis) -> PastCharts:
        """These of that history."""
        waits, runs = past.times(history, "wait_ms"), past.times(history, "run_ms")
        return cls(past.attempts(history), waits, runs, time.monotonic(), redis)


async def charts_of(app: FastAPI, to: Shared, span: Span) -> PastCharts:
    """As they are, or as this process drew them a moment ago."""
    kept: dict[Span, PastCharts] | None = getattr(app.state, "past_charts", None)
    if kept is None:
        kept = app.state.past_charts = {}
    charts = kept.get(span)
    if charts is None or charts.redis is not to.redis or time.monotonic() - charts.drawn_s > KEPT_S:
        history = await in_time(read_history(to.clients, to.queue_keys, span))
        charts = kept[span] = PastCharts.drawn(history, to.redis)
    return charts
