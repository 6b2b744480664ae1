"""One subscription for a whole process: for callers that wait for the end of a job, and for the feed of all changes.

A message is a hint: a stock Arq worker publishes none, and a connection may be cut. A client that waits reads the job
again from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Protocol

from redis.asyncio import Redis

from errand.events.change import Change, changes_in
from errand.redis.cluster.each import of_each
from errand.redis.outage import Outage
from errand.redis.subscription import PING_EVERY_S, Subscription
from errand.wire import keys

HOME_CHANNEL = "errand:home"
"""Keeps the subscription open while nobody waits; nothing is published here."""


ENDS = frozenset({"succeeded", "failed", "cancelled"})


SUBSCRIBED_WITHIN_S = 0.5
"""How long a caller waits for the subscription to start; after that it reads the job without it."""


MARKED = "@"
"""How a message begins that holds the positions of its changes."""


class Listener(Protocol):
    """Receives every message."""

    def on_changes(self, changes: Sequence[Change]) -> None:
        """The changes in a message of a queue that is watched."""

    def on_unmarked(self, partition: int) -> None:
        """A queue has published something there as if nobody watched it."""

    def on_subscribed(self, partition: int) -> None:
        """Every message of that partition is received from now on; earlier ones may have been missed."""


class JobEvents:
    """One subscription to the events of some queues, shared; it costs nothing while nobody waits.

    One for each of these clients, if they lead to partitions.
    """

    def __init__(self, *clients: Redis, queues: Sequence[str], ping_every_s: float = PING_EVERY_S) -> None:
        self._channels = [keys.events(queue) for queue in queues]
        self._outages = [Outage() for _ in clients]
        self._subscriptions = [
            Subscription(
                redis,
                outage=self._outages[partition],
                on_message=partial(self._on_message, partition),
                ping_every_s=ping_every_s,
                started=partial(self._on_subscribed, partition),
            )
            for partition, redis in enumerate(clients)
        ]
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listener: Listener | None = None
        self._users = 0
        self._subscribed = asyncio.Event()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[JobEvents]:
        """Listens in the background for as long as the block lasts."""
        await self._add(HOME_CHANNEL)
        listening = [asyncio.create_task(subscription.listen()) for subscription in self._subscriptions]
        try:
            yield self
        finally:
            for task in listening:
                task.cancel()
            await asyncio.wait(listening)

    @contextlib.asynccontextmanager
    async def end_of(self, job_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set when the job ends during the block, or when its end may have been missed."""
        ended = asyncio.Event()
        self._waiters[job_id].add(ended)
        try:
            await self._join()
            yield ended
        finally:
            self._waiters[job_id].discard(ended)
            if not self._waiters[job_id]:
                del self._waiters[job_id]
            await self._leave()

    async def subscribe(self, listener: Listener) -> None:
        """`listener` receives every message from now on, until `unsubscribe`; there is one listener at a time."""
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
            self._subscribed.clear()
            await self._add(*self._channels)
        if not self._is_subscribed():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._subscribed.wait(), SUBSCRIBED_WITHIN_S)

    async def _leave(self) -> None:
        self._users -= 1
        if not self._users:
            await of_each(self._subscriptions, lambda subscription: subscription.remove(*self._channels))

    async def _add(self, *channels: str) -> None:
        await of_each(self._subscriptions, lambda subscription: subscription.add(*channels))

    def _is_subscribed(self) -> bool:
        """Nobody waits for a partition that is known to be away: the jobs of the others go on meanwhile."""
        states = list(zip(self._subscriptions, self._outages, strict=True))
        return any(subscription.is_confirmed for subscription in self._subscriptions) and all(
            subscription.is_confirmed or outage.lasts for subscription, outage in states
        )

    def _on_subscribed(self, partition: int) -> None:
        if not self._users:
            return
        if self._is_subscribed():
            self._subscribed.set()
        for waiters in self._waiters.values():
            # each of these ends may have been missed
            for ended in waiters:
                ended.set()
        if self._listener is not None:
            self._listener.on_subscribed(partition)

    def _on_message(self, partition: int, message: str) -> None:
        if message.startswith(MARKED):
            self._on_changes(partition, list(changes_in(message, partition=partition)))
            return
        if self._listener is not None:
            self._listener.on_unmarked(partition)
        for line in message.split("\n"):
            status, _, job_id = line.partition(" ")
            self._notify_waiters(status, job_id)

    def _on_changes(self, partition: int, changes: Sequence[Change]) -> None:
        # before `on_subscribed` there may be a gap before these, which the listener would not notice
        if self._listener is not None and self._subscriptions[partition].is_confirmed:
            self._listener.on_changes(changes)
        for change in changes:
            self._notify_waiters(change.kind, change.job_id)

    def _notify_waiters(self, status: str, job_id: str) -> None:
        if status in ENDS:
            for ended in self._waiters.get(job_id, ()):
                ended.set()
