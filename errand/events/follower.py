"""Keeps one source's part of the ring whole: what was published unheard is read from the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from errand.events.change import Change
from errand.events.cursor import Position
from errand.events.history import History
from errand.events.ring import Ring
from errand.redis.outage import Outage


class Follower:
    """Follows the changes of one source.

    `publish` is called with each new change in the ring, `note_gap` if changes are lost for good.
    """

    def __init__(
        self, history: History, ring: Ring, *, publish: Callable[[Change], None], note_gap: Callable[[], None]
    ) -> None:
        self.source, self.partition = history.source, history.partition
        self._history = history
        self._ring = ring
        self._publish = publish
        self._note_gap = note_gap
        self._is_current = False
        """True if the next message follows on what is in the ring; else it must be read from the history."""
        self._has_missed = False
        self._reading = asyncio.Lock()

    @property
    def is_current(self) -> bool:
        """Messages are taken in as they come; False while, and if, something must be read first."""
        return self._is_current

    async def restart(self) -> None:
        """Follows the source from now on; to be followed by `catch_up`."""
        self.interrupt()
        self._ring.restart(self.source, (await self._history.watch()).last)

    def interrupt(self) -> None:
        """Messages may have been missed: until `catch_up` has read them, none follows on what is in the ring."""
        self._is_current = False

    def receive(self, change: Change) -> None:
        """Takes in a change from a message."""
        if self._is_current:
            self._add(change)
        else:
            self._has_missed = True

    async def catch_up(self) -> None:
        """Reads the history to its end; from then on messages follow on it."""
        async with self._reading:
            self._is_current = False
            while not self._is_current:
                self._has_missed = False
                if await self._read_to_end():
                    self._is_current = not self._has_missed

    async def recover(self) -> None:
        """Catches up as soon as Redis can be reached. Raises errors that are no outage."""
        await Outage(quiet=True).outlast(self.catch_up)

    async def renew(self) -> None:
        """Keeps the source watched; recovers if it was not watched for a while, or was not caught up with.

        Raises errors that are no outage.
        """
        extent = await Outage(quiet=True).outlast(self._history.watch)
        if extent.since > self._ring.end(self.source) or not self._is_current:
            await self.recover()

    async def covers(self, position: Position) -> bool:
        """True if every change after this position is in the ring, or could be read into it just now."""
        if position > self._ring.end(self.source):
            # another process, which gave its client this position, has received more by now
            await self.catch_up()
        if position < self._ring.start(self.source):
            await self._read_before_start(position)
        return self._ring.start(self.source) <= position <= self._ring.end(self.source)

    async def _read_to_end(self) -> bool:
        """False if changes were lost: the ring then goes on at the end of the history."""
        end = self._ring.end(self.source)
        extent = await self._history.watch()
        if not extent.has_all_after(end):
            self._ring.restart(self.source, extent.last)
            self._note_gap()
            return False
        async for position, change in self._history.between(end):
            if change is not None:
                self._add(change)
            self._ring.advance(self.source, position)
        return True

    async def _read_before_start(self, position: Position) -> None:
        async with self._reading:
            start = self._ring.start(self.source)
            extent = await self._history.watch()
            if position >= start or not extent.has_all_after(position):
                return
            older = [change async for _, change in self._history.between(position, start) if change is not None]
            # the ring may have dropped some of its oldest meanwhile: these would not follow on the rest
            if self._ring.start(self.source) == start:
                self._ring.prepend(self.source, older, start=position)

    def _add(self, change: Change) -> None:
        if self._ring.append(change):
            self._publish(change)
