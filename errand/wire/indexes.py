"""How a dead job is entered in the indexes: everything that it is looked for by, in one line of text.

The line can be made again from the job's result. So a caller with an outdated result cannot touch the entry of a later
death, and an entry whose job has been forgotten, or has lived on, is known by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self

from errand.wire import fingerprint
from errand.wire.records import Error, JobCancelled, JobFailed

TYPE_LIMIT_CHARS = 128


TIME_DIGITS = 15


@dataclass(frozen=True, slots=True)
class DeadEntry:
    """`<type> <fingerprint> <end in ms> <job id>`; the id last, for a stock producer's may hold spaces."""

    type: str
    fingerprint: str
    ended_at_ms: int
    """By the clock of its worker, as its result says."""
    job_id: str

    def __str__(self) -> str:
        return f"{self.group} {self.ended_at_ms:0{TIME_DIGITS}d} {self.job_id}"

    @property
    def group(self) -> str:
        """Type and fingerprint: dead jobs of one group died of the same fault."""
        return f"{self.type} {self.fingerprint}"

    @property
    def about(self) -> str:
        """Who or what has the fault; '' if the job does not say that."""
        return fingerprint.about_in(self.fingerprint)

    @classmethod
    def of(cls, job_id: str, type_name: str, error: Error, *, ended_at_ms: int) -> Self:
        """The entry of a job that failed with that error."""
        return cls(type_word(type_name), fingerprint.token(error.fingerprint), ended_at_ms, job_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for a line of another shape."""
        type_name, mark, ended_at_ms, job_id = text.split(" ", 3)
        return cls(type_name, mark, int(ended_at_ms), job_id)

    @classmethod
    def read(cls, text: str) -> Self:
        """The same; one that another program has written is of a job that does not exist."""
        try:
            return cls.parse(text)
        except ValueError:
            return cls("", "", 0, text)

    @classmethod
    def in_result(cls, job_id: str, record: Mapping[str, Any]) -> Self | None:
        """The entry that a job with that result has; None if it did not fail as a dead job does."""
        failure = record.get("r")
        if not isinstance(failure, JobFailed) or failure.cancelled:
            return None
        return cls.of(job_id, str(record.get("f")), failure.error, ended_at_ms=int(record.get("ft") or 0))


@lru_cache(maxsize=1_000)
def type_word(name: str) -> str:
    """A type's name as entries and indexes have it; that of a plain Arq function may be any text."""
    return fingerprint.token(name, limit_chars=TYPE_LIMIT_CHARS)


End = Literal["succeeded", "failed", "cancelled"]


SHARED = "*"
"""The type in the names of the indexes that the jobs of all further types share if there are too many types."""


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
