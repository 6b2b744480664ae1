"""Parked jobs: waiting jobs whose type no worker knew that came to them.

A parked job is a deferred job like any other, due again in up to an hour. Its id is kept under its type as well, so
that a worker that knows the type need not wait for that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from functools import partial

from redis.asyncio import Redis

from errand.redis import script
from errand.redis.repair import repairing
from errand.wire import keys

LOOK_AGAIN_S = 0.02
"""The wait after a look that left some."""


MAX_LOOKS = 1000
"""Entries that one call looks at: Redis answers nobody else meanwhile."""


MAX_PARKED = 100
"""Jobs that one call looks at, and may park: a millisecond, in which Redis answers nobody else."""


class Parked:
    """The parked jobs of one queue, as a worker sees them that knows `types` and looks every `look_s` seconds."""

    def __init__(self, redis: Redis, *, queue: str, types: Iterable[str], look_s: float) -> None:
        self._redis = redis
        self._queue = queue
        self._own = [keys.parked(queue, name) for name in types]
        self.look_s = look_s
        self._release = script.load(redis, "leases/release")
        self._park_due = script.load(redis, "leases/park_due")
        self._next_look_s = time.monotonic() if self._own else math.inf
        self._left = False

    @property
    def left_due_in_s(self) -> float:
        """In how many seconds to come for what the last look left; infinite if it left nothing."""
        return self._next_look_s - time.monotonic() if self._left else math.inf

    def look_now(self) -> None:
        """The next call of `release` looks, whenever the last one has."""
        if self._own:
            self._next_look_s = time.monotonic()

    async def release(self, most: int) -> bool:
        """Makes up to `most` parked jobs of these types due now, if it is time to look; True if there were any.

        Raises redis' errors.
        """
        if most <= 0 or self._next_look_s > time.monotonic():
            return False
        names = [self._queue, keys.paused(self._queue), *self._own]
        called = partial(self._release, keys=names, args=[most, keys.events(self._queue), MAX_LOOKS])
        released, left = await repairing(self._redis, self._queue, called)
        self._left = bool(left)
        self._next_look_s = time.monotonic() + (LOOK_AGAIN_S if left else self.look_s)
        return bool(released)

    async def park_due(self, type_name: str, *, wait_s: float, note: bytes) -> tuple[int, int]:
        """Parks the jobs of a type that nobody knows among those that are due first, for half of `wait_s` at least.

        Returns how many jobs were looked at, and how many were parked. Raises redis' errors.
        """
        queue = self._queue
        names = [queue, keys.running(queue), keys.paused(queue), keys.parked(queue, type_name), keys.groups(queue)]
        half_ms = wait_s * 500
        spread = [MAX_PARKED, int(half_ms), half_ms / MAX_PARKED]
        arguments: list[str | bytes | int | float] = [type_name, "", "", *spread, note, keys.events(queue)]
        called = partial(self._park_due, keys=names, args=arguments)
        looked, parked = await repairing(self._redis, queue, called)
        return int(looked), int(parked)

    async def count(self, types: Iterable[str]) -> int:
        """How many jobs of these types are parked; entries that mean nothing any more count too."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for name in types:
                pipeline.zcard(keys.parked(self._queue, name))
            return sum(await pipeline.execute())
