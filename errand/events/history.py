"""What Redis keeps of a queue's changes while somebody watches it: a capped stream of the latest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from redis.asyncio import Redis

from errand.events.change import Change
from errand.events.cursor import Position, position_in, source_of
from errand.redis import script
from errand.wire import keys

WATCH_MS = 180_000
"""For so long a queue counts as watched: a watcher whose API process is deployed anew comes back in time."""


HISTORY_MS = 300_000


PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Extent:
    """What a history holds: no change is missing after `since`, and its entries reach from `first` to `last`."""

    since: Position
    first: Position
    last: Position

    def has_all_after(self, position: Position) -> bool:
        """True if every change after this position can be read. A position past the end is of another history."""
        return max(self.since, self.first) <= position <= self.last


class History:
    """The history of one queue (its key) in one partition."""

    def __init__(self, redis: Redis, queue: str, *, partition: int = 0) -> None:
        self.queue = keys.queue_name(queue)
        """The name of the queue."""
        self.partition = partition
        self.source = source_of(self.queue, partition)
        self._redis = redis
        self._watched = keys.watched(queue)
        self._history = keys.history(queue)
        self._watch = script.load(redis, "events/watch")

    async def watch(self) -> Extent:
        """Has Redis keep the queue's changes for the next three minutes; returns what it holds by now."""
        extent = await self._watch(keys=[self._watched, self._history], args=[WATCH_MS, HISTORY_MS])
        return Extent(*(position_in(position.decode()) for position in extent))

    async def between(
        self, after: Position, to: Position | None = None
    ) -> AsyncIterator[tuple[Position, Change | None]]:
        """Each entry after a position, up to and including another or to the end; None for a mark, no change."""
        last = "+" if to is None else _text(to)
        while entries := await self._redis.xrange(self._history, min=f"({_text(after)}", max=last, count=PAGE):
            for at, fields in entries:
                position, record = at.decode(), fields[b"change"].decode(errors="replace")
                after = position_in(position)
                yield after, Change.read(self.queue, position, record, partition=self.partition)


def _text(position: Position) -> str:
    return f"{position[0]}-{position[1]}"
