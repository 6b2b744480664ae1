"""Follows all queues of a process while somebody watches: one follower for each source, one subscription for all.

Partitions fail apart: what one of them has is kept, renewed and caught up with whether or not another one is away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

import structlog

from errand.events.change import Change
from errand.events.cursor import Position
from errand.events.follower import Follower
from errand.events.listener import JobEvents
from errand.redis.cluster.each import of_each

log = structlog.get_logger("errand.http")


RENEW_EVERY_S = 30.0


class Followers:
    """The followers of some queues. `note_gap` is called if changes are lost, or cannot be read."""

    def __init__(self, followers: Iterable[Follower], events: JobEvents, *, note_gap: Callable[[], None]) -> None:
        self._by_source = {follower.source: follower for follower in followers}
        self._of_partitions: dict[int, list[Follower]] = {}
        for follower in self._by_source.values():
            self._of_partitions.setdefault(follower.partition, []).append(follower)
        self._renew_now = {partition: asyncio.Event() for partition in self._of_partitions}
        self._events = events
        self._note_gap = note_gap
        self._cut_off: set[Follower] = set()
        """Those that catch up because a request that had them do so did not see it to the end."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_open = False

    async def open(self) -> None:
        """Follows every queue from now on. Raises redis' errors if Redis is away."""
        followers = list(self._by_source.values())
        await of_each(followers, lambda follower: follower.restart())
        self.is_open = True
        try:
            await self._events.subscribe(self)
            await of_each(followers, lambda follower: follower.catch_up())
        except BaseException:
            await self.close()
            raise
        for partition in self._of_partitions:
            self._start(self._keep_watched(partition))

    async def close(self) -> None:
        """Follows no queue any more."""
        self.is_open = False
        for task in list(self._tasks):
            task.cancel()
        await self._events.unsubscribe()

    async def cover(self, positions: Mapping[str, Position]) -> bool:
        """Reads what is missing in the ring after these positions; False if some of it is gone."""
        for source, follower in self._by_source.items():
            # a position is missing for a source that is new
            if (position := positions.get(source)) is not None and not await self._covers(follower, position):
                return False
        return True

    async def _covers(self, follower: Follower, position: Position) -> bool:
        try:
            return await follower.covers(position)
        except BaseException:
            # the request that asks is cut off at its deadline, perhaps in the middle of what all watchers depend on
            if self.is_open and not follower.is_current and follower not in self._cut_off:
                self._cut_off.add(follower)
                self._start(self._recover(follower))
            raise

    async def _recover(self, follower: Follower) -> None:
        try:
            await self._or_note_gap(follower.recover)
        finally:
            self._cut_off.discard(follower)

    def on_changes(self, changes: Iterable[Change]) -> None:
        """The changes in a message of a watched queue. Those of 10,000 jobs take about 50 ms."""
        for change in changes:
            if (follower := self._by_source.get(change.source)) is not None:
                follower.receive(change)

    def on_unmarked(self, partition: int) -> None:
        """A queue does not know there that it is watched, or did not when it published."""
        if (renew_now := self._renew_now.get(partition)) is not None:
            renew_now.set()

    def on_subscribed(self, partition: int) -> None:
        """The subscription there has started, or started anew: what was missed is in the history."""
        if self.is_open:
            for follower in self._of_partitions.get(partition, ()):
                follower.interrupt()
                self._start(self._or_note_gap(follower.recover))

    async def _keep_watched(self, partition: int) -> None:
        renew_now = self._renew_now[partition]
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(renew_now.wait(), RENEW_EVERY_S)
            renew_now.clear()
            for follower in self._of_partitions[partition]:
                await self._or_note_gap(follower.renew)
            # a queue whose workers are older than this feature never knows that it is watched
            await asyncio.sleep(1)

    async def _or_note_gap(self, read: Callable[[], Awaitable[None]]) -> None:
        """If the history cannot be read, watchers must not wait for what never comes."""
        try:
            await read()
        except Exception as error:  # noqa: BLE001  # whatever it is
            log.warning("changes of jobs cannot be read: all watchers are ended", error=str(error))
            self._note_gap()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
