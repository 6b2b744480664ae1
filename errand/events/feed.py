"""All changes of jobs, for any number of watchers in one process: read from Redis once, handed to each without a gap.

While somebody watches, each queue says so in Redis, and its scripts keep the latest changes in a history. What this
process has heard lies in a ring: who comes back is given from there what he has missed, what is older is read into the
ring once for all. A watcher that does not keep up is left behind; nobody waits for it.

Where it is naive: a queue is watched as a whole, so each of its changes is kept for a while, watched or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from redis.asyncio import Redis

from errand.events.change import Change, Position, changes_in, place_of, position_in
from errand.events.listener import JobEvents
from errand.events.watcher import ChangeBatch, Ended, EventFilter, Watcher
from errand.redis import script
from errand.redis.outage import Outage
from errand.wire import keys

log = structlog.get_logger("errand.http")


RENEW_EVERY_S = 30.0


WATCH_MS = 180_000
"""Long enough that a watcher whose API process was deployed anew comes back in time."""


HISTORY_MS = 300_000


MAX_RING = 20_000
"""As many changes as a queue's history has."""


SLICE = 500


PAGE = 1_000


BEAT_S = 15.0
"""A watcher that receives nothing for so long is sent a sign of life: proxies end what is silent for 60."""


FIRST: Position = (0, 0)


class TooManyWatchers(Exception):
    """This process has as many watchers as it may have."""


@dataclass(slots=True, eq=False)
class _Group:
    """Watchers that want the same."""

    watchers: set[Watcher] = field(default_factory=set)
    pending: list[Change] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Tail:
    """How far one queue has been heard, and since where without a gap."""

    key: str
    name: str
    start: Position = FIRST
    position: Position = FIRST
    following: bool = False
    """Else what is heard waits in the history until it is read from there."""
    more: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class JobFeed:
    """The changes of some queues (their keys); it costs nothing while nobody watches."""

    def __init__(self, redis: Redis, events: JobEvents, *, queues: Sequence[str], most_watchers: int) -> None:
        self._redis = redis
        self._events = events
        self._most_watchers = most_watchers
        self._watch = script.load(redis, "events/watch")
        self._tails = {(name := keys.queue_name(key)): _Tail(key, name) for key in queues}
        self._ring: deque[Change] = deque()
        self._number = self._first_number = 0
        self._watchers: set[Watcher] = set()
        self._groups: dict[EventFilter, _Group] = {}
        self._by_job: dict[str, _Group] = {}
        self._gate = asyncio.Lock()
        self._open = False
        self._chores: set[asyncio.Task[None]] = set()
        self._renew_now = asyncio.Event()
        self._handing_out = False
        self._handed_out_s = self._took_s = 0.0

    @property
    def place(self) -> str:
        """Where who has seen everything stands."""
        return place_of({tail.name: tail.position for tail in self._tails.values()})

    def is_caught_up(self, watcher: Watcher) -> bool:
        """It has not ended, and has taken all that was heard for it: `place` is not past anything of that."""
        groups, key = self._place_in_groups(watcher.filter)
        group = groups.get(key)
        return watcher.ended is None and not watcher.has_more and not (group and group.pending)

    def place_after(self, positions: Mapping[str, Position]) -> str:
        """Where who has seen these stands, in every queue: of one that he does not know it is where that is now."""
        return place_of(self._seen(positions))

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watchers)

    async def admit(self, which: EventFilter) -> Watcher:
        """A watcher, for which nothing comes yet: see `follow`. To be followed by `dismiss`.

        Raises TooManyWatchers, and redis' errors where the first one comes while Redis is away.
        """
        if len(self._watchers) >= self._most_watchers:
            raise TooManyWatchers
        watcher = Watcher(which)
        self._watchers.add(watcher)
        try:
            async with self._gate:
                if not self._open:
                    await self._begin()
        except BaseException:
            await self.dismiss(watcher)
            raise
        return watcher

    async def dismiss(self, watcher: Watcher) -> None:
        """It watches no more; the last one closes the door."""
        watcher.end("gone")
        self._watchers.discard(watcher)
        groups, key = self._place_in_groups(watcher.filter)
        if (group := groups.get(key)) is not None:
            group.watchers.discard(watcher)
            if not group.watchers:
                del groups[key]
        async with self._gate:
            if self._open and not self._watchers:
                await self._close()

    async def covers(self, positions: Mapping[str, Position]) -> bool:
        """Everything after these positions is at hand, or has been read; False where some of it is gone."""
        for tail in self._tails.values():
            position = positions.get(tail.name)
            if position is None:  # a queue that is new
                continue
            if position > tail.position:
                # another process has heard sooner
                await self._catch_up(tail)
            if position < tail.start:
                await self._read_before(tail, position)
            if not tail.start <= position <= tail.position:
                return False
        return True

    async def follow(
        self, watcher: Watcher, positions: Mapping[str, Position] | None = None
    ) -> AsyncIterator[list[tuple[Change, str]]]:
        """What came after these positions, each change with the place after it; at the end of it the watcher is live.

        Without positions it is live at once. They must be covered. What is left out or comes twice would be between
        the last look at the ring and the joining: nothing is awaited there.
        """
        if positions is not None:
            seen = self._seen(positions)
            number = self._first_number - 1
            while watcher.ended is None and (missed := self._after(number, seen)):
                number = missed[-1].number
                for at in range(0, len(missed), SLICE):
                    yield [
                        (change, place)
                        for change, place in _placed(missed[at : at + SLICE], seen)
                        if watcher.filter.has(change)
                    ]
                if self._ring and self._ring[0].number > number + 1:
                    # slower than the ring is overwritten
                    watcher.end("slow")
        if watcher.ended is None:
            self._hand_out()
            groups, key = self._place_in_groups(watcher.filter)
            groups.setdefault(key, _Group()).watchers.add(watcher)

    def after(self, positions: Mapping[str, Position]) -> list[Change]:
        """What the ring has after these positions, which must be covered."""
        seen = self._seen(positions)
        return self._after(self._first_number - 1, seen)

    def end_all(self, why: Ended) -> None:
        """Ends every watcher: each comes back with the last place that it has seen."""
        for watcher in list(self._watchers):
            watcher.end(why)

    # what JobEvents calls

    def hear(self, message: str) -> None:
        """A message of a watched queue."""
        for change in changes_in(message):
            tail = self._tails.get(change.queue)
            if tail is None:
                continue
            if tail.following:
                self._take_in(tail, change)
            else:
                tail.more = True

    def hear_unmarked(self) -> None:
        """A queue does not know that it is watched, or did not when it spoke."""
        self._renew_now.set()

    def hear_again(self) -> None:
        """The subscription has started, or started anew: what was missed is in the history."""
        for tail in self._tails.values():
            if self._open:
                tail.following = False
                self._do(self._recover(tail))

    # how it opens and closes

    async def _begin(self) -> None:
        for tail in self._tails.values():
            _, _, tail.position = await self._look(tail)
            tail.start = tail.position
            tail.following = False
        self._ring.clear()
        self._open = True
        try:
            await self._events.subscribe(self)
            for tail in self._tails.values():
                await self._catch_up(tail)
        except BaseException:
            await self._close()
            raise
        self._do(self._keep())
        self._do(self._beat())

    async def _close(self) -> None:
        self._open = False
        for chore in list(self._chores):
            chore.cancel()
        await self._events.unsubscribe()
        self._ring.clear()

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _keep(self) -> None:
        """Says again and again that the queues are watched."""
        outage = Outage(quiet=True)
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._renew_now.wait(), RENEW_EVERY_S)
            self._renew_now.clear()
            for tail in self._tails.values():
                since, _, _ = await outage.outlast(lambda tail=tail: self._look(tail))  # type: ignore[misc]  # mypy does not infer the type of a lambda with a default
                if since > tail.position:
                    await self._recover(tail)
            # a queue whose workers are older than this feature never knows that it is watched
            await asyncio.sleep(1)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S / 10)
            now_s = time.monotonic()
            for watcher in self._watchers:
                if now_s - watcher.beaten_s >= BEAT_S:
                    watcher.wake()

    async def _recover(self, tail: _Tail) -> None:
        """Reads what was not heard, as soon as Redis lets it."""
        outage = Outage(quiet=True)
        try:
            await outage.outlast(lambda: self._catch_up(tail))
        except Exception as error:  # noqa: BLE001  # whatever it is: who watches must not wait for what never comes
            log.warning("changes of jobs cannot be read: watchers are sent away", error=str(error))
            self.end_all("missed")

    # what is read from Redis

    async def _look(self, tail: _Tail) -> tuple[Position, Position, Position]:
        """Says that it is watched. Since where its history is whole, its first position, its last."""
        since, first, last = await self._watch(
            keys=[keys.watched(tail.key), keys.history(tail.key)], args=[WATCH_MS, HISTORY_MS]
        )
        return position_in(since.decode()), position_in(first.decode()), position_in(last.decode())

    async def _catch_up(self, tail: _Tail) -> None:
        """Reads the history from where the tail is to its end; from then on what is heard follows on it."""
        async with tail.lock:
            tail.following = False
            while True:
                tail.more = False
                since, first, last = await self._look(tail)
                if tail.position < max(since, first) or tail.position > last:
                    self._lose(tail, last)
                    continue
                while page := await self._page(tail, tail.position, "+"):
                    for position, change in page:
                        if change is not None:
                            self._take_in(tail, change)
                        tail.position = max(tail.position, position)
                if not tail.more:
                    tail.following = True
                    return

    async def _read_before(self, tail: _Tail, position: Position) -> None:
        """Reads into the ring what came after that position and before all that it has of the queue."""
        async with tail.lock:
            start = tail.start
            since, first, _ = await self._look(tail)
            if position >= start or position < max(since, first):
                return
            older: list[Change] = []
            after = position
            while page := await self._page(tail, after, f"{start[0]}-{start[1]}"):
                older += [change for _, change in page if change is not None]
                after = page[-1][0]
            if tail.start != start or len(self._ring) + len(older) > MAX_RING:
                return
            for change in reversed(older):
                self._first_number -= 1
                change.number = self._first_number
                self._ring.appendleft(change)
            tail.start = position

    async def _page(self, tail: _Tail, after: Position, to: str) -> list[tuple[Position, Change | None]]:
        entries = await self._redis.xrange(keys.history(tail.key), min=f"({after[0]}-{after[1]}", max=to, count=PAGE)
        return [
            (position_in(at), Change.read(tail.name, at, fields[b"change"].decode(errors="replace")))
            for at, fields in ((raw.decode(), fields) for raw, fields in entries)
        ]

    def _lose(self, tail: _Tail, last: Position) -> None:
        """Some changes are gone: every watcher is disconnected, and learns of it when it reconnects."""
        self._ring = deque(change for change in self._ring if change.queue != tail.name)
        tail.start = tail.position = last
        self.end_all("missed")

    # how it is handed out

    def _take_in(self, tail: _Tail, change: Change) -> None:
        if change.at <= tail.position:
            return
        tail.position = change.at
        self._number += 1
        change.number, change.place = self._number, self.place
        self._ring.append(change)
        if len(self._ring) > MAX_RING:
            oldest = self._ring.popleft()
            self._tails[oldest.queue].start = oldest.at
            self._first_number = self._ring[0].number
        self._sort(change)

    def _sort(self, change: Change) -> None:
        groups = [group for which, group in self._groups.items() if which.has(change)]
        if (of_job := self._by_job.get(change.job_id)) is not None:
            groups.append(of_job)
        for group in groups:
            group.pending.append(change)
        if groups and not self._handing_out:
            self._handing_out = True
            # half as long a pause as it takes: others need the loop as well
            pause_s = self._handed_out_s + self._took_s * 1.5 - time.monotonic()
            loop = asyncio.get_running_loop()
            loop.call_later(pause_s, self._hand_out_measured) if pause_s > 0 else loop.call_soon(
                self._hand_out_measured
            )

    def _hand_out_measured(self) -> None:
        """The watchers write when their turn comes, behind this call: it has taken as long as until then."""
        loop = asyncio.get_running_loop()
        self._handing_out = False
        self._handed_out_s = time.monotonic()
        self._hand_out()
        loop.call_soon(loop.call_soon, self._measure)

    def _measure(self) -> None:
        self._took_s = time.monotonic() - self._handed_out_s

    def _hand_out(self) -> None:
        for groups in (self._groups, self._by_job):
            for group in groups.values():
                if group.pending:
                    batch = ChangeBatch(group.pending)
                    group.pending = []
                    for watcher in group.watchers:
                        watcher.push(batch)

    def _seen(self, positions: Mapping[str, Position]) -> dict[str, Position]:
        """With a position for each queue, and for nothing else: a place is what a client says it is."""
        return {tail.name: positions.get(tail.name, tail.position) for tail in self._tails.values()}

    def _after(self, number: int, seen: Mapping[str, Position]) -> list[Change]:
        newer: list[Change] = []
        for change in reversed(self._ring):
            if change.number <= number:
                break
            if change.at > seen[change.queue]:
                newer.append(change)
        newer.reverse()
        return newer

    def _place_in_groups(self, which: EventFilter) -> tuple[dict[Any, _Group], Any]:
        if which.job_id is not None:
            return self._by_job, which.job_id
        return self._groups, which


def _placed(changes: Sequence[Change], seen: dict[str, Position]) -> list[tuple[Change, str]]:
    placed = []
    for change in changes:
        seen[change.queue] = change.at
        placed.append((change, place_of(seen)))
    return placed
