"""One client that watches the changes of jobs: which changes it receives, and what it has not taken yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from errand.events.change import Change

MAX_BUFFERED = 2_000
"""Changes that a watcher may be behind. All watchers share the changes; each costs no more than its list."""


Ended = Literal["slow", "missed", "stopping", "gone"]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which changes a watcher receives; an empty set means all."""

    types: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    """By their names."""
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
    """Changes of one moment, shared by all watchers with the same filter."""

    changes: Sequence[Change]
    shown: bytes = b""
    """All of them as clients see them; rendered once, by the first watcher that is sent them."""
    sent: bytes = b""
    """The same as it goes over the wire."""


class Watcher:
    """One client that watches."""

    def __init__(self, filter: EventFilter) -> None:
        self.filter = filter
        self.ended: Ended | None = None
        """Why nothing more will come; None if more may come."""
        self.on_end: Callable[[Ended], None] = lambda reason: None
        """Called once, when the watcher ends."""
        self.write: Callable[[ChangeBatch], bool] | None = None
        """A shorter way to a client that waits in `take`; returns False if that way is not open at the moment."""
        self.seen_number = 0
        """The number of the latest change that the watcher is known to have been handed, or to have been past."""
        self.last_sign_s = time.monotonic()
        """When something was last handed to the watcher, be it a sign of life."""
        self._batches: list[ChangeBatch] = []
        self._behind = 0
        self._waiting: asyncio.Future[None] | None = None

    async def take(self) -> list[ChangeBatch]:
        """What has come since the last call; empty if only a sign of life is due, or if the watcher has ended."""
        if not self._batches and self.ended is None:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        taken, self._batches, self._behind = self._batches, [], 0
        return taken

    def push(self, batch: ChangeBatch) -> None:
        """Hands over a batch without waiting. A watcher that is too far behind is ended before anything is rendered."""
        if self.ended is not None:
            return
        if self.write is not None and self._is_waiting and self.write(batch):
            self.last_sign_s = time.monotonic()
        elif self._behind + len(batch.changes) > MAX_BUFFERED:
            self.end("slow")
        else:
            self._behind += len(batch.changes)
            self._batches.append(batch)
            self.wake()

    def end(self, reason: Ended) -> None:
        """Lets nothing more come. A slow watcher loses what it has not taken: nobody would read it in time."""
        if self.ended is None:
            self.ended = reason
            if reason == "slow":
                self._batches.clear()
            self.on_end(reason)
            self.wake()

    def wake(self) -> None:
        """Makes `take` return."""
        self.last_sign_s = time.monotonic()
        waiting = self._waiting
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    @property
    def has_more(self) -> bool:
        """True if the next `take` returns something at once."""
        return bool(self._batches)

    @property
    def _is_waiting(self) -> bool:
        return self._waiting is not None and not self._waiting.done()
