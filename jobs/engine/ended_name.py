"""What an index of ended jobs is called: how its jobs ended and of which type they are.

Who holds a job's result can tell the index, so an entry that another life of the job has left is known by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from jobs.engine.dead_entry import type_word
from jobs.engine.records import JobCancelled, JobFailed

End = Literal["succeeded", "failed", "cancelled"]
SHARED = "*"
"""The type in the names of the indexes that the jobs of all further types share where there are too many types."""


@dataclass(frozen=True, slots=True)
class EndedName:
    """`<end>:<type>`."""

    end: str
    type: str
    """As `type_word` writes it."""

    def __str__(self) -> str:
        return f"{self.end}:{self.type}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for a text of another shape."""
        end, type_name = text.split(":", 1)
        return cls(end, type_name)

    @classmethod
    def in_result(cls, record: Mapping[str, Any]) -> Self:
        """Of the job with that result."""
        return cls(end_of(record.get("r") if record.get("s") is False else None), type_word(str(record.get("f"))))


def end_of(failure: object) -> End:
    """How a job ended whose result is that failure, or none."""
    match failure:
        case None:
            return "succeeded"
        case JobCancelled() | JobFailed(cancelled=True):
            return "cancelled"
        case _:
            return "failed"
