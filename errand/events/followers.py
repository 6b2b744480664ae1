"""Follows all queues of a process while somebody watches: one follower for each queue, one subscription for all."""

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

log = structlog.get_logger("errand.http")


RENEW_EVERY_S = 30.0


class Followers:
    """The followers of some queues. `note_gap` is called if changes are lost, or cannot be read."""

    def __init__(self, followers: Iterable[Follower], events: JobEvents, *, note_gap: Callable[[], None]) -> None:
        self._by_queue = {follower.queue: follower for follower in followers}
        self._events = events
        self._note_gap = note_gap
        self._tasks: set[asyncio.Task[None]] = set()
        self._renew_now = asyncio.Event()
        self.is_open = False

    async def open(self) -> None:
        """Follows every queue from now on. Raises redis' errors if Redis is away."""
        for follower in self._by_queue.values():
            await follower.restart()
        self.is_open = True
        try:
            await self._events.subscribe(self)
            for follower in self._by_queue.values():
                await follower.catch_up()
        except BaseException:
            await self.close()
            raise
        self._start(self._keep_watched())

    async def close(self) -> None:
        """Follows no queue any more."""
        self.is_open = False
        for task in list(self._tasks):
            task.cancel()
        await self._events.unsubscribe()

    async def cover(self, positions: Mapping[str, Position]) -> bool:
        """Reads what is missing in the ring after these positions; False if some of it is gone."""
        for queue, follower in self._by_queue.items():
            # a position is missing for a queue that is new
            if (position := positions.get(queue)) is not None and not await follower.covers(position):
                return False
        return True

    def on_changes(self, changes: Iterable[Change]) -> None:
        """The changes in a message of a watched queue. Those of 10,000 jobs take about 50 ms."""
        for change in changes:
            if (follower := self._by_queue.get(change.queue)) is not None:
                follower.receive(change)

    def on_unmarked(self) -> None:
        """A queue does not know that it is watched, or did not when it published."""
        self._renew_now.set()

    def on_subscribed(self) -> None:
        """The subscription has started, or started anew: what was missed is in the history."""
        if self.is_open:
            for follower in self._by_queue.values():
                follower.interrupt()
                self._start(self._or_note_gap(follower.recover))

    async def _keep_watched(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._renew_now.wait(), RENEW_EVERY_S)
            self._renew_now.clear()
            for follower in self._by_queue.values():
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
