"""One change of a job: a new status, or progress, as the scripts publish it while somebody watches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic_core import from_json

from errand.events.cursor import Position, position_in, source_of
from errand.monitor.job_snapshot import Status
from errand.wire import keys
from errand.wire.records import Progress

Kind = Literal[Status, "progress"]


@dataclass(slots=True, eq=False)
class Change:
    """A job's new status, or its progress."""

    queue: str
    """The name of its queue."""
    at: Position
    kind: str
    """The new status, or `progress`."""
    job_id: str
    type: str | None
    """None if it is not known, as for a job of a stock producer."""
    attempt: int
    """How many attempts have started."""
    progress: Progress | None = None
    number: int = 0
    """Counts up in the order in which this process received the changes."""
    cursor: str = ""
    """Where to go on after this change."""
    shown: str = ""
    """The change as clients see it, kept here by what renders it: it is rendered once, however many watch."""
    partition: int = 0

    @property
    def source(self) -> str:
        """In whose history it is: the queue, in that partition."""
        return source_of(self.queue, self.partition)

    @classmethod
    def read(cls, queue: str, position: str, record: str, *, partition: int = 0) -> Change | None:
        """From a line of the channel, or an entry of the history; None for a mark, which is no change."""
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
            partition=partition,
        )


def changes_in(message: str, *, partition: int = 0) -> Iterator[Change]:
    """The changes in a message of a watched queue's channel in that partition."""
    channel, *lines = message[1:].split("\n")
    queue = keys.queue_name(channel.removeprefix("errand:").removesuffix(":events"))
    for line in lines:
        position, _, record = line.partition(" ")
        if change := Change.read(queue, position, record, partition=partition):
            yield change
