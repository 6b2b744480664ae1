"""Hears stock Arq's `Job.abort()`: a set of job ids, which says nothing of the queue or the life they mean."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from arq.constants import abort_job_max_age
from redis.asyncio import Redis

from errand.wire import keys

LOOK_EVERY_S = 0.5
"""Arq's own pace, while jobs run."""


LOOK_WHEN_IDLE_S = 30.0


class Aborts:
    """What stock clients have asked to abort, as it was read last."""

    def __init__(self) -> None:
        self._asked_at_ms: dict[str, int] = {}
        self._looked_s = -LOOK_WHEN_IDLE_S

    def includes(self, job_id: str, *, enqueued_at_ms: int) -> bool:
        """True where the abort was asked of this job, and not of an earlier one with its id."""
        asked_at_ms = self._asked_at_ms.pop(job_id, None)
        return asked_at_ms is not None and asked_at_ms >= enqueued_at_ms

    async def look(self, redis: Redis, *, running: Mapping[str, int]) -> list[str]:
        """The ids to abort among `running` (job id → when it was enqueued, ms). Asks Redis twice a second at most."""
        if time.monotonic() - self._looked_s < (LOOK_EVERY_S if running else LOOK_WHEN_IDLE_S):
            return []
        self._looked_s = time.monotonic()
        asked = await redis.zrange(keys.ABORT, 0, -1, withscores=True)
        self._asked_at_ms = {job_id.decode(): int(score) for job_id, score in asked}
        if not asked:
            return []
        mine = [job_id for job_id, asked_ms in self._asked_at_ms.items() if asked_ms >= running.get(job_id, math.inf)]
        if mine:
            await redis.zrem(keys.ABORT, *mine)
        # nobody runs it: forgotten, so that it cannot hit a later job of that id
        await redis.zremrangebyscore(keys.ABORT, "-inf", time.time() * 1000 - abort_job_max_age * 1000)
        return mine
