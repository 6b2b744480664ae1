"""One who watches the changes of jobs: what it wants, and what has come for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from errand.events.change import Change

MAX_BUFFERED = 2_000
"""Changes that a watcher may be behind; they are shared with the others, so that what it costs is their list."""


Ended = Literal["slow", "missed", "stopping", "gone"]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which changes a watcher receives; an empty set means all."""

    types: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    job_id: str | None = None

    def has(self, change: Change) -> bool:
        """True if a watcher with this filter receives that change."""
        return (
            (self.job_id is None or change.job_id == self.job_id)
            and (not self.types or change.type in self.types)
            and (not self.kinds or change.kind in self.kinds)
            and (not self.queues or change.queue in self.queues)
        )


@dataclass(slots=True, eq=False)
class ChangeBatch:
    """Changes that came in a moment, for all who want the same."""

    changes: Sequence[Change]
    shown: bytes = b""
    """All of them as they look from outside; made once by the first who shows them."""
    sent: bytes = b""
    """The same as it goes over the wire."""


class Watcher:
    """One who watches: what has come for it and is not taken yet."""

    def __init__(self, which: EventFilter) -> None:
        self.filter = which
        self.ended: Ended | None = None
        """Why nothing more will come."""
        self.at_end: Callable[[Ended], None] = lambda why: None
        """Called once, for whom does not take."""
        self.write: Callable[[ChangeBatch], bool] | None = None
        """A shorter way to who waits in `take`; False where it is not open at the moment."""
        self._batches: list[ChangeBatch] = []
        self._behind = 0
        self._waiting: asyncio.Future[None] | None = None
        self.beaten_s = time.monotonic()

    async def take(self) -> list[ChangeBatch]:
        """What has come since the last time; empty if it is only to be sent a sign of life, or has ended."""
        if not self._batches and self.ended is None:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        taken, self._batches, self._behind = self._batches, [], 0
        return taken

    def push(self, batch: ChangeBatch) -> None:
        """Never waits: one that is too far behind is ended."""
        if self.write is not None and self._waits and self.write(batch):
            self.beaten_s = time.monotonic()
            return
        if self._behind > MAX_BUFFERED:
            self.end("slow")
        if self.ended is None:
            self._behind += len(batch.changes)
            self._batches.append(batch)
            self.wake()

    def end(self, why: Ended) -> None:
        """Nothing more comes."""
        if self.ended is None:
            self.ended = why
            self.at_end(why)
            self.wake()

    def wake(self) -> None:
        """Has `take` return."""
        self.beaten_s = time.monotonic()
        waiting = self._waiting
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    @property
    def has_more(self) -> bool:
        """The next `take` brings something at once."""
        return bool(self._batches)

    @property
    def _waits(self) -> bool:
        return self.ended is None and self._waiting is not None and not self._waiting.done()
