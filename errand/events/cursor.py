"""Positions in the order of changes, and cursors: texts that name one position in each source.

A source is a queue in one partition. Each has a history with an order of its own, so a client that watches several
queues comes back with a position in each: `1795237200000-0@default,1795237200123-1@cpu`. A source of partition 0 has
the queue's name, one of partition 2 a name like `default.2`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Position = tuple[int, int]
"""Ms of the server's clock, and a number within that ms; ordered as Redis orders the entries of a stream."""


FIRST: Position = (0, 0)


PART = re.compile(r"(\d{1,18})-(\d{1,18})@([A-Za-z0-9_-]{1,64}(?:\.\d{1,3})?)")


def source_of(queue: str, partition: int) -> str:
    """The name of a source; no queue's name has a dot."""
    return f"{queue}.{partition}" if partition else queue


def position_in(text: str) -> Position:
    """The position in a text as Redis writes it: `1700000000000-0`."""
    ms, _, number = text.partition("-")
    return int(ms), int(number)


def cursor_of(positions: Mapping[str, Position]) -> str:
    """The cursor for these positions, given by the names of their sources."""
    return ",".join([f"{ms}-{number}@{source}" for source, (ms, number) in positions.items()])


def positions_in(cursor: str) -> dict[str, Position] | None:
    """The position in each source that a cursor names; None if the text is no cursor."""
    parts = [PART.fullmatch(part) for part in cursor.split(",")]
    return {part[3]: (int(part[1]), int(part[2])) for part in parts if part} if all(parts) else None
