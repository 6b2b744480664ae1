"""Reads the aborts that stock Arq's `Job.abort()` asks for: job ids, without a queue; an id may since be used again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import structlog
from arq.constants import abort_job_max_age
from redis.asyncio import Redis

from errand.wire import keys

log = structlog.get_logger("errand.worker")


LOOK_EVERY_S = 0.5
"""While jobs run; as often as Arq looks."""


LOOK_WHEN_IDLE_S = 30.0
"""While none run: only old entries are to be removed then."""


class Aborts:
    """The aborts that stock clients have asked for, as they were read last."""

    def __init__(self) -> None:
        self._asked_at_ms: dict[str, int] = {}
        self._looked_s = -LOOK_WHEN_IDLE_S

    def includes(self, job_id: str, *, enqueued_at_ms: int) -> bool:
        """True if somebody has asked to abort this job, and not an earlier one with its id."""
        asked_at_ms = self._asked_at_ms.pop(job_id, None)
        return asked_at_ms is not None and asked_at_ms >= enqueued_at_ms

    async def look(self, redis: Redis, *, running: Mapping[str, int]) -> list[str]:
        """The ids to abort among `running` (job id → when it was enqueued, ms). Asks Redis twice a second at most."""
        if time.monotonic() - self._looked_s < (LOOK_EVERY_S if running else LOOK_WHEN_IDLE_S):
            return []
        self._looked_s = time.monotonic()
        asked = await redis.zrange(keys.ABORT, 0, -1, withscores=True)
        self._asked_at_ms, foreign = _read(asked)
        if foreign:
            log.error("aborts that another program has written were removed", first=repr(foreign[0]))
            await redis.zrem(keys.ABORT, *foreign)
        if not self._asked_at_ms:
            return []
        mine = [job_id for job_id, asked_ms in self._asked_at_ms.items() if asked_ms >= running.get(job_id, math.inf)]
        # an abort of a job that nobody runs is removed in the end, so that it cannot hit a later job of that id
        now_s, _ = await redis.time()  # a worker whose own clock is ahead would remove those that others are to see
        await redis.zremrangebyscore(keys.ABORT, "-inf", (now_s - abort_job_max_age) * 1000)
        if mine:
            await redis.zrem(keys.ABORT, *mine)
        return mine


def _read(asked: Sequence[tuple[bytes, float]]) -> tuple[dict[str, int], list[bytes]]:
    """When each was asked for, in ms, by job id; and what no client of Arq writes: that must keep no job waiting."""
    at_ms: dict[str, int] = {}
    foreign: list[bytes] = []
    for name, score in asked:
        try:
            at_ms[name.decode()] = int(score)
        except (ValueError, OverflowError):  # no UTF-8, or no time
            foreign.append(name)
    return at_ms, foreign
