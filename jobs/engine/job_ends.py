"""Lets many waiters of one process hear of the ends of jobs over one connection.

What is pushed is a hint: a stock Arq worker sends none, and a connection may be cut. Who waits reads again from time
to time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from jobs.engine import keys
from jobs.engine.outage import Outage

HOME_CHANNEL = "errand:ended"
"""Keeps the subscription open while nobody waits; nothing is published here."""


class JobEnds:
    """One subscription, shared. Channels are subscribed to only while somebody waits for them."""

    def __init__(self, redis: Redis) -> None:
        self._pubsub: PubSub = redis.pubsub(ignore_subscribe_messages=True)
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._outage = Outage()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[JobEnds]:
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
    async def watch(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the job ends, as far as that is heard."""
        channel, heard = keys.ended_channel(job_id), asyncio.Event()
        self._waiters[channel].add(heard)
        try:
            if len(self._waiters[channel]) == 1:
                with contextlib.suppress(*Outage.ERRORS):
                    await self._pubsub.subscribe(channel)
            yield heard
        finally:
            self._waiters[channel].discard(heard)
            if not self._waiters[channel]:
                del self._waiters[channel]
                with contextlib.suppress(*Outage.ERRORS):
                    await self._pubsub.unsubscribe(channel)

    async def _listen(self) -> None:
        while True:
            try:
                await self._pubsub.subscribe(HOME_CHANNEL, *self._waiters)
                self._outage.note_end()
                async for message in self._pubsub.listen():
                    self._wake(message["channel"].decode())
            except Outage.ERRORS as error:
                await self._outage.wait_out(error)

    def _wake(self, channel: str) -> None:
        for heard in self._waiters.get(channel, ()):
            heard.set()
