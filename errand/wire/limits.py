"""What a producer may ask of one job: how often it is tried, by when it must have started, which others it overtakes.

It travels in the job's body and result beside Arq's fields, which stock Arq passes over: a stock worker runs such a job
as any other. A job of which nothing is asked carries nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

TRIES_LIMIT = 100


HIGHEST_PRIORITY = 9
"""The scripts know one digit; 0, the lowest, is that of a job of which nothing is asked."""


MAX_TRIES, EXPIRES_AT, PRIORITY = "max_tries", "expires_at", "priority"


LATEST_MS = 253_402_300_799_000
"""The end of the year 9999: no time after it can be shown."""


def shown_ms(at_ms: float) -> int:
    """A moment that can be shown; a stock producer may have a job due in no year of any calendar."""
    return int(min(max(at_ms, 0), LATEST_MS))


class Expired(Exception):
    """The job had not started when it was to; no further try could make up for that."""

    def __init__(self, expires_at_ms: int) -> None:
        at = datetime.fromtimestamp(expires_at_ms / 1000, UTC)
        super().__init__(f"was to begin by {at:%Y-%m-%dT%H:%M:%SZ} at the latest, as its expires_in asked, and had not")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLimits:
    """As the body and the result of a job have them."""

    max_tries: int | None = None
    """None: the job type's."""
    expires_at_ms: int | None = None
    """Ms since the epoch; None: it may begin at any time."""
    priority: int | None = None
    """From 1 to 9; None: 0, the lowest."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> KeptLimits:
        """Those in that record; what makes no sense there limits nothing, a body may be anybody's."""
        if MAX_TRIES not in record and EXPIRES_AT not in record:
            return OF_PRIORITY[_between(1, record.get(PRIORITY), HIGHEST_PRIORITY)]
        return cls(
            max_tries=_between(1, record.get(MAX_TRIES), TRIES_LIMIT),
            expires_at_ms=_between(0, record.get(EXPIRES_AT), LATEST_MS),
            priority=_between(1, record.get(PRIORITY), HIGHEST_PRIORITY),
        )

    def fields(self) -> dict[str, int]:
        """What they add to a record."""
        named = {MAX_TRIES: self.max_tries, EXPIRES_AT: self.expires_at_ms, PRIORITY: self.priority}
        return {name: value for name, value in named.items() if value is not None}


NO_LIMITS = KeptLimits()


OF_PRIORITY: Mapping[int | None, KeptLimits] = {
    None: NO_LIMITS,
    **{each: KeptLimits(priority=each) for each in range(1, HIGHEST_PRIORITY + 1)},
}
"""Those that say a priority and nothing else: made once, as a claim may have hundreds of jobs with them."""


def may_have_limits(body: bytes) -> bool:
    """False if the body surely has none: a look at its bytes, which costs a job without them next to nothing."""
    return b'"max_tries":' in body or b'"expires_at":' in body or b'"priority":' in body


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLimits:
    """As they are asked for, together with an enqueue. Raises ValueError for a number out of range."""

    max_tries: int | None = None
    expires_in_ms: int | None = None
    """From when the job is accepted."""
    priority: int | None = None
    """From 0, the lowest, to 9; None: that of the job type."""

    def __post_init__(self) -> None:
        if self.max_tries is not None and not 1 <= self.max_tries <= TRIES_LIMIT:
            raise ValueError(f"max_tries is a number from 1 to {TRIES_LIMIT}")
        if self.expires_in_ms is not None and self.expires_in_ms < 1:
            raise ValueError("expires_in must be at least a millisecond")
        if self.priority is not None:
            check_priority(self.priority)

    def kept(self, accepted_at_ms: int) -> KeptLimits:
        """As the job has them that was accepted then, by the server's clock."""
        expires_at_ms = None if self.expires_in_ms is None else min(accepted_at_ms + self.expires_in_ms, LATEST_MS)
        return KeptLimits(max_tries=self.max_tries, expires_at_ms=expires_at_ms, priority=self.priority or None)


def check_priority(priority: int) -> None:
    """Raises ValueError for a number out of range."""
    if not 0 <= priority <= HIGHEST_PRIORITY:
        raise ValueError(f"priority is a number from 0, the lowest, to {HIGHEST_PRIORITY}")


def of_type(limits: JobLimits | None, *, priority: int) -> JobLimits | None:
    """The same for a job of a type that has this priority, which counts unless another one is asked for."""
    if not priority or (limits is not None and limits.priority is not None):
        return limits
    return replace(limits or JobLimits(), priority=priority)


def _between(least: int, value: object, most: int) -> int | None:
    return value if type(value) is int and least <= value <= most else None
