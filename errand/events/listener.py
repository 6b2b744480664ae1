"""Lets many of one process hear of changes to jobs over one connection: who waits for an end, and who watches.

What is pushed is a hint: a stock Arq worker sends none, and a connection may be cut. Who waits reads again from time
to time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from redis.asyncio import Redis

from errand.events.change import changes_in
from errand.redis.outage import Outage
from errand.redis.subscription import PING_EVERY_S, Subscription
from errand.wire import keys

HOME_CHANNEL = "errand:home"
"""Keeps the subscription open while nobody waits; nothing is published here."""


ENDS = frozenset({"succeeded", "failed", "cancelled"})


HEARD_WITHIN_S = 0.5
"""A waiter looks for itself all the same: it need not wait long for Redis' word that it is heard."""


MARKED = "@"
"""How a message begins that has the positions of its changes in it."""


class Listener(Protocol):
    """Who hears everything."""

    def hear(self, message: str) -> None:
        """One of a queue that is watched."""

    def hear_unmarked(self) -> None:
        """A queue has said something as if nobody watched it."""

    def hear_again(self) -> None:
        """All is heard from now on; what was said before may have been missed."""


class JobEvents:
    """One subscription to the events of some queues, shared; it costs nothing while nobody waits."""

    def __init__(self, redis: Redis, *, queues: Sequence[str], ping_every_s: float = PING_EVERY_S) -> None:
        self._channels = [keys.events(queue) for queue in queues]
        self._subscription = Subscription(
            redis, outage=Outage(), hear=self._hear, ping_every_s=ping_every_s, started=self._begin
        )
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listener: Listener | None = None
        self._users = 0
        self._started = asyncio.Event()

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
        """An event that is set when the job ends, as far as that is heard; from the beginning of the block on."""
        heard = asyncio.Event()
        self._waiters[job_id].add(heard)
        try:
            await self._join()
            yield heard
        finally:
            self._waiters[job_id].discard(heard)
            if not self._waiters[job_id]:
                del self._waiters[job_id]
            await self._leave()

    async def subscribe(self, listener: Listener) -> None:
        """`listener` hears everything from now on, until `unsubscribe`; there is one at a time."""
        self._listener = listener
        await self._join()

    async def unsubscribe(self) -> None:
        """The opposite."""
        self._listener = None
        await self._leave()

    async def _join(self) -> None:
        """If Redis is away or slow, the caller does not wait for it: it is notified when the subscription starts."""
        self._users += 1
        if self._users == 1:
            self._started.clear()
            await self._subscription.add(*self._channels)
        if not self._subscription.hears_all:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._started.wait(), HEARD_WITHIN_S)

    async def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            await self._subscription.remove(*self._channels)

    def _begin(self) -> None:
        if self._users:
            self._started.set()
            # an end may have gone unheard
            for waiters in self._waiters.values():
                for heard in waiters:
                    heard.set()
            if self._listener is not None:
                self._listener.hear_again()

    def _hear(self, changes: str) -> None:
        if changes.startswith(MARKED):
            self._hear_marked(changes)
            return
        if self._listener is not None:
            self._listener.hear_unmarked()
        for line in changes.split("\n"):
            status, _, job_id = line.partition(" ")
            self._hear_change(status, job_id)

    def _hear_marked(self, changes: str) -> None:
        # until all is heard, and `hear_again` called, it would be a change behind a gap
        if self._listener is not None and self._subscription.hears_all:
            self._listener.hear(changes)
        if self._waiters:
            for change in changes_in(changes):
                self._hear_change(change.kind, change.job_id)

    def _hear_change(self, status: str, job_id: str) -> None:
        if status in ENDS:
            for heard in self._waiters.get(job_id, ()):
                heard.set()
