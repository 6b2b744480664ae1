"""Lets many waiters of one process hear of changes to jobs over one connection.

What is pushed is a hint: a stock Arq worker sends none, and a connection may be cut. Who waits reads again from time
to time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from redis.asyncio import Redis

from jobs.engine import keys
from jobs.engine.outage import Outage
from jobs.engine.subscription import PING_EVERY_S, Subscription

HOME_CHANNEL = "errand:home"
"""Keeps the subscription open while nobody waits; nothing is published here."""
ENDS = frozenset({"succeeded", "failed", "cancelled"})


class JobEvents:
    """One subscription to the events of some queues, shared; it costs nothing while nobody waits."""

    def __init__(self, redis: Redis, *, queues: Sequence[str], ping_every_s: float = PING_EVERY_S) -> None:
        self._channels = [keys.events(queue) for queue in queues]
        self._subscription = Subscription(redis, outage=Outage(), hear=self._hear, ping_every_s=ping_every_s)
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[JobEvents]:
        """Listens in the background for as long as the block lasts."""
        await self._subscription.add(HOME_CHANNEL)
        listener = asyncio.create_task(self._subscription.listen())
        try:
            yield self
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    @contextlib.asynccontextmanager
    async def end_of(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the job ends, as far as that is heard."""
        heard = asyncio.Event()
        self._waiters[job_id].add(heard)
        try:
            if len(self._waiters) == 1:
                await self._subscription.add(*self._channels)
            yield heard
        finally:
            self._waiters[job_id].discard(heard)
            if not self._waiters[job_id]:
                del self._waiters[job_id]
            if not self._waiters:
                await self._subscription.remove(*self._channels)

    def _hear(self, changes: str) -> None:
        for line in changes.splitlines():
            status, _, job_id = line.partition(" ")
            if status in ENDS:
                for heard in self._waiters.get(job_id, ()):
                    heard.set()
