"""The workers of a queue, as their heartbeats report them: who knows a type that this worker does not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from errand.wire import keys
from errand.wire.worker_report import WorkerReport, live_reports

LOOK_S = 3.0
"""A look counts for so long: a worker reports itself no more often."""


@dataclass(frozen=True, slots=True)
class FleetView:
    """What was seen of a queue."""

    reports: Sequence[WorkerReport]
    """Those of the live workers that take jobs."""
    jobs: int
    """How many jobs wait or run."""

    def knows(self, type_name: str) -> bool:
        """True if one of these workers knows the type."""
        return any(report.knows(type_name) for report in self.reports)


class Fleet:
    """The workers of one queue; one that was silent for `silent_s` seconds does not count."""

    def __init__(self, redis: Redis, *, queue: str, silent_s: float) -> None:
        self._redis = redis
        self._queue = queue
        self._silent_s = silent_s
        self._look: FleetView | None = None
        self._looked_s = 0.0

    async def look(self) -> FleetView:
        """The queue as it was a few seconds ago at most. Raises redis' errors."""
        if self._look is None or time.monotonic() - self._looked_s > LOOK_S:
            self._look = await self._ask()
            self._looked_s = time.monotonic()
        return self._look

    async def _ask(self) -> FleetView:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.zrange(keys.workers(self._queue), 0, -1, withscores=True)
            pipeline.hgetall(keys.reports(self._queue))
            pipeline.zcard(self._queue)
            (seconds, micros), heartbeats, reports, jobs = await pipeline.execute()
        now_ms = seconds * 1000 + micros // 1000
        live = live_reports(heartbeats, reports, now_ms=now_ms, silent_s=self._silent_s).values()
        return FleetView([report for report in live if not report.draining], jobs)
