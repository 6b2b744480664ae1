"""Lets any number of clients watch the changes of jobs; each receives all that its filter has, without a gap.

While somebody watches, Redis keeps the latest changes of each queue (`history`). This process receives them once, keeps
them in a `ring`, in which one follower for each source closes every gap (`followers`), and hands them to the watchers
(`fan_out`). A watcher that comes back with a cursor first receives what it missed from the ring; what is older is read
into the ring once for all. A watcher that does not keep up is ended; nobody waits for it.

Where it is naive: a queue is watched as a whole, so each of its changes is kept for a while, watched or not.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

from redis.asyncio import Redis

from errand.events.change import Change
from errand.events.cursor import Position, cursor_of
from errand.events.fan_out import FanOut
from errand.events.follower import Follower
from errand.events.followers import Followers
from errand.events.history import History
from errand.events.listener import JobEvents
from errand.events.ring import Ring
from errand.events.watcher import Ended, EventFilter, Watcher

HEARTBEAT_S = 15.0
"""A watcher that receives nothing for so long is sent a sign of life: proxies end a stream that is silent for 60 s."""


SLICE = 500
"""So many of the changes that a watcher has missed it receives at once."""


class TooManyWatchers(Exception):
    """This process has as many watchers as it may have."""


class JobFeed:
    """The changes of some queues (their keys) for at most `max_watchers`; it costs nothing while nobody watches.

    They are in one Redis, or in the partitions behind these clients, to which `events` must listen.
    """

    def __init__(self, *clients: Redis, events: JobEvents, queues: Sequence[str], max_watchers: int) -> None:
        self._max_watchers = max_watchers
        self._watchers: set[Watcher] = set()
        self._fan_out = FanOut()
        histories = [
            History(redis, queue, partition=partition) for partition, redis in enumerate(clients) for queue in queues
        ]
        self._ring = Ring(history.source for history in histories)
        followers = [
            Follower(history, self._ring, publish=self._fan_out.publish, note_gap=self._end_for_gap)
            for history in histories
        ]
        self._followers = Followers(followers, events, note_gap=self._end_for_gap)
        self._opening = asyncio.Lock()
        self._heartbeats: asyncio.Task[None] | None = None
        self._turn_of_one = asyncio.Lock()

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    @property
    def cursor(self) -> str:
        """The cursor of a client that has seen every change so far."""
        return self._ring.cursor

    def cursor_after(self, positions: Mapping[str, Position]) -> str:
        """The cursor of a client at these positions; in a source for which none is given it has seen every change."""
        return cursor_of(self._ring.complete(positions))

    def caught_up_cursor(self, watcher: Watcher) -> str | None:
        """A cursor that is not past anything the watcher has yet to receive; None if it has something to take first."""
        return self._fan_out.caught_up_cursor(watcher, self.cursor)

    async def admit(self, event_filter: EventFilter) -> Watcher:
        """A watcher that receives nothing yet: see `follow`. In the end the caller must `dismiss` it.

        Raises TooManyWatchers; for the first watcher also redis' errors if Redis is away.
        """
        if len(self._watchers) >= self._max_watchers:
            raise TooManyWatchers
        watcher = Watcher(event_filter)
        self._watchers.add(watcher)
        try:
            async with self._opening:
                if not self._followers.is_open:
                    await self._open()
        except BaseException:
            await self.dismiss(watcher)
            raise
        return watcher

    async def dismiss(self, watcher: Watcher) -> None:
        """Ends a watcher; after the last one nothing is received or kept any more."""
        watcher.end("gone")
        self._watchers.discard(watcher)
        self._fan_out.remove(watcher)
        async with self._opening:
            if self._followers.is_open and not self._watchers:
                await self._close()

    async def covers(self, positions: Mapping[str, Position]) -> bool:
        """True if every change after these positions is in the ring by now; False if some are gone."""
        return await self._followers.cover(positions)

    def after(self, positions: Mapping[str, Position]) -> list[Change]:
        """The changes after these positions, which must be covered."""
        return self._ring.after(self._ring.complete(positions))

    async def follow(
        self, watcher: Watcher, positions: Mapping[str, Position] | None = None
    ) -> AsyncIterator[list[tuple[Change, str]]]:
        """What the watcher has missed since these positions, each change with the cursor after it; then it is live.

        Without positions it is live at once. They must be covered.
        """
        if positions is not None:
            async for missed in self._missed_by(watcher, self._ring.complete(positions)):
                yield missed
        # nothing is awaited between the last look at the ring and this: no change is left out, none comes twice
        if watcher.ended is None:
            self._fan_out.add(watcher)

    def end_all(self, reason: Ended) -> None:
        """Ends every watcher: each client comes back with the cursor of what it has seen."""
        for watcher in list(self._watchers):
            watcher.end(reason)

    async def _missed_by(self, watcher: Watcher, seen: dict[str, Position]) -> AsyncIterator[list[tuple[Change, str]]]:
        number = self._ring.first_number - 1
        while watcher.ended is None:
            await self._wait_for_turn()
            missed = self._ring.after(seen, number=number)
            if not missed:
                return
            number = missed[-1].number
            for start in range(0, len(missed), SLICE):
                await self._wait_for_turn()
                yield _filtered(missed[start : start + SLICE], watcher.filter, seen)
            if self._ring.first_number > number + 1:
                # the ring has dropped changes faster than the watcher took them
                watcher.end("slow")

    async def _wait_for_turn(self) -> None:
        """One watcher in a turn of the loop: what each has missed is rendered for it alone, which takes about 2 ms."""
        async with self._turn_of_one:
            await asyncio.sleep(0)

    async def _open(self) -> None:
        await self._followers.open()
        self._heartbeats = asyncio.create_task(self._send_heartbeats())

    async def _close(self) -> None:
        if self._heartbeats is not None:
            self._heartbeats.cancel()
        self._fan_out.stop()
        self._ring.clear()
        await self._followers.close()

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S / 10)
            now_s = time.monotonic()
            for watcher in self._watchers:
                if now_s - watcher.last_sign_s >= HEARTBEAT_S:
                    watcher.wake()

    def _end_for_gap(self) -> None:
        self._fan_out.stop()
        self.end_all("missed")


def _filtered(
    changes: Iterable[Change], event_filter: EventFilter, seen: dict[str, Position]
) -> list[tuple[Change, str]]:
    """The changes that the filter has, each with the cursor after it; `seen` is moved past all of them."""
    return [(change, cursor) for change, cursor in _with_cursors(changes, seen) if event_filter.has(change)]


def _with_cursors(changes: Iterable[Change], seen: dict[str, Position]) -> Iterator[tuple[Change, str]]:
    for change in changes:
        seen[change.source] = change.at
        yield change, cursor_of(seen)
