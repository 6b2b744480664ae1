"""What this process keeps: the latest changes of all its sources, of each without a gap."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from errand.events.change import Change
from errand.events.cursor import FIRST, Position, cursor_of

MAX_RING = 20_000
"""As many changes as a source's history has."""


@dataclass(slots=True)
class _Span:
    """One source's part of the ring: every change after `start`, up to `end`."""

    start: Position = FIRST
    end: Position = FIRST


class Ring:
    """The latest changes of these sources (their names), in the order in which this process received them."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._changes: deque[Change] = deque()
        self._spans = {source: _Span() for source in sources}
        self._first_number = 1
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._changes)

    @property
    def cursor(self) -> str:
        """The cursor of a client that has seen every change."""
        return cursor_of({source: span.end for source, span in self._spans.items()})

    @property
    def first_number(self) -> int:
        """The number of the oldest change; if there is none, of the next one."""
        return self._first_number

    def start(self, source: str) -> Position:
        """Where the ring's part of a source begins: every change after this position is in it."""
        return self._spans[source].start

    def end(self, source: str) -> Position:
        """Where the ring's part of a source ends: the position of its latest change."""
        return self._spans[source].end

    def complete(self, positions: Mapping[str, Position]) -> dict[str, Position]:
        """A position in each source of the ring, and in no other; the end, in a source for which none is given."""
        return {source: positions.get(source, span.end) for source, span in self._spans.items()}

    def append(self, change: Change) -> bool:
        """Adds the newest change, numbers it and gives it a cursor; False if the ring had it already."""
        span = self._spans[change.source]
        if change.at <= span.end:
            return False
        span.end = change.at
        self._last_number += 1
        change.number, change.cursor = self._last_number, self.cursor
        self._changes.append(change)
        if len(self._changes) > MAX_RING:
            self._drop_oldest()
        return True

    def advance(self, source: str, position: Position) -> None:
        """Moves the end of a source's part: nothing has changed up to this position."""
        span = self._spans[source]
        span.end = max(span.end, position)

    def prepend(self, source: str, changes: Sequence[Change], *, start: Position) -> None:
        """Adds all that a source has between `start` and the start of its part; nothing if there is no room for it."""
        if len(self._changes) + len(changes) > MAX_RING:
            return
        for change in reversed(changes):
            self._first_number -= 1
            change.number = self._first_number
            self._changes.appendleft(change)
        self._spans[source].start = start

    def clear(self) -> None:
        """Forgets all changes; each source's part goes on where it ended."""
        self._changes.clear()
        self._first_number = self._last_number + 1
        for span in self._spans.values():
            span.start = span.end

    def restart(self, source: str, position: Position) -> None:
        """Forgets all changes, and lets this source's part go on at another position."""
        self._spans[source].end = position
        self.clear()

    def after(self, positions: Mapping[str, Position], *, number: int | None = None) -> list[Change]:
        """The changes after these positions, one in each source; if `number` is given, only those numbered higher."""
        newer: list[Change] = []
        for change in reversed(self._changes):
            if number is not None and change.number <= number:
                break
            if change.at > positions[change.source]:
                newer.append(change)
        newer.reverse()
        return newer

    def _drop_oldest(self) -> None:
        oldest = self._changes.popleft()
        self._spans[oldest.source].start = oldest.at
        self._first_number = self._changes[0].number
