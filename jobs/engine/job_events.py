"""Lets many waiters of one process hear of changes to jobs over one connection.

What is pushed is a hint: a stock Arq worker sends none, and a connection may be cut. Who waits reads again from time
to time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from jobs.engine import keys
from jobs.engine.outage import Outage, is_outage

log = structlog.get_logger("errand.job_events")

HOME_CHANNEL = "errand:home"
"""Keeps the subscription open while nobody waits; nothing is published here."""
REFUSED_PAUSE_S = 10.0
ENDS = frozenset({"succeeded", "failed", "cancelled"})


class JobEvents:
    """One subscription to the events of some queues, shared; it costs nothing while nobody waits."""

    def __init__(self, redis: Redis, *, queues: Sequence[str]) -> None:
        self._channels = [keys.events(queue) for queue in queues]
        self._pubsub: PubSub = redis.pubsub(ignore_subscribe_messages=True)
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._outage = Outage()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[JobEvents]:
        """Listens in the background for as long as the block lasts."""
        listener = asyncio.create_task(self._listen())
        try:
            yield self
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    @contextlib.asynccontextmanager
    async def end_of(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the job ends, as far as that is heard."""
        heard = asyncio.Event()
        self._waiters[job_id].add(heard)
        try:
            if len(self._waiters) == 1:
                with contextlib.suppress(*Outage.ERRORS):
                    await self._pubsub.subscribe(*self._channels)
            yield heard
        finally:
            self._waiters[job_id].discard(heard)
            if not self._waiters[job_id]:
                del self._waiters[job_id]
            if not self._waiters:
                with contextlib.suppress(*Outage.ERRORS):
                    await self._pubsub.unsubscribe(*self._channels)

    async def _listen(self) -> None:
        while True:
            try:
                await self._pubsub.subscribe(HOME_CHANNEL, *(self._channels if self._waiters else ()))
                self._outage.note_end()
                async for message in self._pubsub.listen():
                    # an id that is no text ends nobody's wait but that of its own job
                    self._hear(message["data"].decode(errors="replace"))
            except Exception as error:  # noqa: BLE001  # who waits looks again anyway; the next end must be heard
                await self._again_after(error)

    async def _again_after(self, error: Exception) -> None:
        if is_outage(error):
            await self._outage.wait_out(error)
        else:
            log.warning("ends of jobs are not heard, who waits for one looks every second", error=str(error))
            await asyncio.sleep(REFUSED_PAUSE_S)

    def _hear(self, changes: str) -> None:
        for line in changes.splitlines():
            status, _, job_id = line.partition(" ")
            if status in ENDS:
                for heard in self._waiters.get(job_id, ()):
                    heard.set()
