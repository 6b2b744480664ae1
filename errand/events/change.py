"""One change of a job, as the scripts publish it while somebody watches; and positions in the order of changes.

A position is one of a queue's history. Of several queues each has its own, so a place names one for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic_core import from_json

from errand.monitor.job_snapshot import Status
from errand.wire import keys
from errand.wire.records import Progress

Position = tuple[int, int]
"""Ms of the server's clock, and a number within that; as Redis orders the entries of a stream."""


Kind = Literal[Status, "progress"]


PLACE = re.compile(r"(\d{1,18})-(\d{1,18})@([A-Za-z0-9_-]{1,64})")


@dataclass(slots=True, eq=False)
class Change:
    """A job's new status, or its progress."""

    queue: str
    """The name of its queue."""
    at: Position
    kind: str
    job_id: str
    type: str | None
    """None where it is not known: a stock producer's."""
    attempt: int
    """How many attempts have started."""
    progress: Progress | None = None
    number: int = 0
    """In the order in which this process heard of changes."""
    place: str = ""
    """Where who has seen this one stands."""
    shown: str = ""
    """What it looks like from outside, kept here by who shows it: it is made once, however many watch."""

    @classmethod
    def read(cls, queue: str, position: str, record: str) -> Change | None:
        """From a line of the channel, or an entry of the history; None for a mark that is no change."""
        if not record:
            return None
        kind, job_id, type_name, attempt, *more = from_json(record)
        progress = Progress(**from_json(more[0])) if more else None
        return cls(
            queue=queue,
            at=position_in(position),
            kind=kind,
            job_id=job_id,
            type=type_name or None,
            attempt=int(attempt),
            progress=progress,
        )


def changes_in(message: str) -> Iterator[Change]:
    """Those in a message of a watched queue's channel."""
    channel, *lines = message[1:].split("\n")
    queue = keys.queue_name(channel.removeprefix("errand:").removesuffix(":events"))
    for line in lines:
        position, _, record = line.partition(" ")
        if change := Change.read(queue, position, record):
            yield change


def position_in(text: str) -> Position:
    """As Redis writes it: `1700000000000-0`."""
    ms, _, number = text.partition("-")
    return int(ms), int(number)


def place_of(positions: Mapping[str, Position]) -> str:
    """One text for the positions in several queues, by their names."""
    return ",".join([f"{ms}-{number}@{queue}" for queue, (ms, number) in positions.items()])


def positions_in(place: str) -> dict[str, Position] | None:
    """The positions in a place; None for what is none."""
    parts = [PLACE.fullmatch(part) for part in place.split(",")]
    return {part[3]: (int(part[1]), int(part[2])) for part in parts if part} if all(parts) else None
