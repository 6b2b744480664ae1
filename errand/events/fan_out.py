"""Hands changes to the watchers, to some in each turn of the event loop: however many watch, requests get in between.

2,000 watchers that do not read and a batch of 10,000 jobs held up the loop for 8.6 s when all were handed all at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import structlog

from errand.events.change import Change
from errand.events.watcher import ChangeBatch, EventFilter, Watcher

log = structlog.get_logger("errand.http")


STEPS_PER_TURN = 100
"""A step is a push, or a look at a filter. It takes up to 30 µs: a turn of the loop takes 3 ms longer for them."""


MAX_BATCH_CHANGES = 200
"""About 40 kB of events: within the buffer of a connection, so that one write takes them all."""


MAX_BACKLOG = 20_000
"""If so many changes wait to be handed out, watchers are ended: they come back and read them from the ring."""


class FanOut:
    """The watchers that are live, by their filters."""

    def __init__(self) -> None:
        self._by_filter: dict[EventFilter, set[Watcher]] = {}
        self._by_job: dict[str, set[Watcher]] = {}
        self._backlog: deque[list[Change]] = deque()
        self._backlog_is_closed = True
        """The last part of the backlog takes no more changes."""
        self._published_number = 0
        self._handed_out_number = 0
        self._handed_out_cursor: str | None = None
        self._handing_out: asyncio.Task[None] | None = None
        self._steps = 0

    def add(self, watcher: Watcher) -> None:
        """Makes a watcher live; it has seen all that was published so far."""
        watcher.seen_number = self._published_number
        self._backlog_is_closed = True
        groups, key = self._groups_of(watcher)
        groups.setdefault(key, set()).add(watcher)

    def remove(self, watcher: Watcher) -> None:
        """The opposite; nothing if the watcher is not live."""
        groups, key = self._groups_of(watcher)
        if (watchers := groups.get(key)) is not None:
            watchers.discard(watcher)
            if not watchers:
                del groups[key]

    def publish(self, change: Change) -> None:
        """Hands the newest change to every watcher whose filter has it, as soon as its turn comes."""
        self._published_number = change.number
        if self._backlog_is_closed or len(self._backlog[-1]) >= MAX_BATCH_CHANGES:
            self._backlog.append([])
            self._backlog_is_closed = False
        self._backlog[-1].append(change)
        if self._published_number - self._handed_out_number > MAX_BACKLOG:
            self._give_up()
        elif self._handing_out is None:
            self._handing_out = asyncio.create_task(self._hand_out_backlog())

    def caught_up_cursor(self, watcher: Watcher, newest: str) -> str | None:
        """A cursor that is not past anything the watcher has yet to receive; None if it has something to take first.

        `newest` is the cursor of a client that has seen every change.
        """
        if watcher.ended is not None or watcher.has_more:
            return None
        if self._handed_out_number == self._published_number:
            return newest
        # in the midst of a batch: the cursor before it, unless the watcher has been past that already
        return self._handed_out_cursor if self._handed_out_number >= watcher.seen_number else None

    def stop(self) -> None:
        """Hands out nothing more of what was published so far."""
        self._backlog.clear()
        self._backlog_is_closed = True
        self._handed_out_number, self._handed_out_cursor = self._published_number, None
        if self._handing_out is not None:
            self._handing_out.cancel()
            self._handing_out = None

    async def _hand_out_backlog(self) -> None:
        while self._backlog:
            started_s = time.monotonic()
            changes = self._backlog.popleft()
            self._backlog_is_closed |= not self._backlog
            await self._hand_out(changes)
            # half as long a pause as it took: others need the loop as well, and more changes go into the next batch
            await asyncio.sleep((time.monotonic() - started_s) / 2)
        self._handing_out = None

    async def _hand_out(self, changes: Sequence[Change]) -> None:
        for watchers, matching in self._matches(changes):
            await self._step()
            batch = ChangeBatch(matching)
            for watcher in tuple(watchers) if matching else ():
                _push(watcher, batch, newest=changes[-1])
                await self._step()
        self._handed_out_number, self._handed_out_cursor = changes[-1].number, changes[-1].cursor

    async def _step(self) -> None:
        """Lets others have the loop after so many steps."""
        self._steps += 1
        if self._steps % STEPS_PER_TURN == 0:
            await asyncio.sleep(0)

    def _matches(self, changes: Sequence[Change]) -> Iterator[tuple[set[Watcher], list[Change]]]:
        """For each filter its watchers, and the changes that it has, which may be none."""
        for event_filter, watchers in tuple(self._by_filter.items()):
            yield watchers, [change for change in changes if event_filter.has(change)]
        of_jobs: dict[str, list[Change]] = {}
        for change in changes:
            if change.job_id in self._by_job:
                of_jobs.setdefault(change.job_id, []).append(change)
        for job_id, its_changes in of_jobs.items():
            yield self._by_job.get(job_id, set()), its_changes

    def _groups_of(self, watcher: Watcher) -> tuple[dict[Any, set[Watcher]], Any]:
        """The table that has the watcher's group, and the group's key there."""
        job_id = watcher.filter.job_id
        return (self._by_filter, watcher.filter) if job_id is None else (self._by_job, job_id)

    def _give_up(self) -> None:
        log.warning("more jobs change than this process can show to its watchers: they are ended")
        self.stop()
        for watchers in (*self._by_filter.values(), *self._by_job.values()):
            for watcher in watchers:
                watcher.end("missed")


def _push(watcher: Watcher, batch: ChangeBatch, *, newest: Change) -> None:
    """Nothing to a watcher that joined after these changes. One to which nothing can be written hinders no other."""
    if watcher.seen_number >= newest.number:
        return
    watcher.seen_number = newest.number
    try:
        watcher.push(batch)
    except Exception:
        log.exception("changes could not be written to a watcher, which is ended")
        watcher.end("missed")
