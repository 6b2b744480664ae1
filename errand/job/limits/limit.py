"""The two kinds of limits: how many jobs of a type run at once, and how many start within a time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

MAX_AT_ONCE = 10_000
"""A claim looks through all that run if it finds no slot free: some of their workers may have been killed."""


MAX_STARTS = 100_000
"""The latest starts are kept, so that a rate is exact; this many take about a megabyte of Redis."""


UNITS_S = {"s": 1, "sec": 1, "min": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}


RATE = re.compile(rf"(\d+)/(\d*)({'|'.join(UNITS_S)})")


@dataclass(frozen=True, slots=True)
class Concurrency:
    """No more than `most` jobs of a type run at once, in all workers together.

    >>> @job(limits=[Concurrency(20), Concurrency(2, key="{customer_id}")])

    With a `key` the limit holds for each key separately. A key is a template over the fields of the args: the second
    limit above allows two jobs of each customer.

    Raises ValueError for a number that is not from 1 to 10,000.
    """

    most: int
    key: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.most <= MAX_AT_ONCE:
            raise ValueError(f"concurrency is a number from 1 to {MAX_AT_ONCE}")

    @property
    def name(self) -> str:
        """The limit's name among those of its type. It stays the same if the numbers change."""
        return f"concurrency {self.key or ''}".rstrip()


@dataclass(frozen=True, slots=True)
class Rate:
    """Limits how many attempts at jobs of a type start within a time: `"100/min"`, `"5/s"`, `"1000/2h"`.

    >>> @job(limits=[Rate("100/min"), Rate("5/s", key="{tenant}")])

    The limit holds exactly for every stretch of that length, in all workers together. With a `key` it holds for each
    key separately.

    Raises ValueError for a text of another form, and for more than 100,000 starts.
    """

    rate: str
    key: str | None = None
    most: int = field(init=False, compare=False)
    per_ms: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        found = RATE.fullmatch(self.rate.replace(" ", ""))
        if found is None:
            raise ValueError(f'{self.rate!r} is no rate: "100/min", "5/s", "1000/2h", "10000/day"')
        most, times, unit = int(found[1]), int(found[2] or 1), found[3]
        if not (1 <= most <= MAX_STARTS and times >= 1):
            raise ValueError(f"{self.rate!r}: a rate is of 1 to {MAX_STARTS} starts, in 1 unit of time or more")
        object.__setattr__(self, "most", most)
        object.__setattr__(self, "per_ms", times * UNITS_S[unit] * 1000)

    @property
    def name(self) -> str:
        """The limit's name among those of its type. It stays the same if the numbers change."""
        return f"rate {self.key or ''}".rstrip()


Limit = Concurrency | Rate


def limits_of(
    concurrency: int | None,
    concurrency_key: str | None,
    rate: str | None,
    rate_key: str | None,
    more: Iterable[Limit],
) -> tuple[Limit, ...]:
    """All limits that `@job` is given, by its short forms and in a list.

    Raises ValueError for a key without its limit, and for two limits of one kind and key.
    """
    for name, key, limit in (("concurrency", concurrency_key, concurrency), ("rate", rate_key, rate)):
        if key is not None and limit is None:
            raise ValueError(f"{name}_key says nothing without {name}")
    short: list[Limit | None] = [
        None if concurrency is None else Concurrency(concurrency, concurrency_key),
        None if rate is None else Rate(rate, rate_key),
    ]
    limits = tuple(limit for limit in (*short, *more) if limit is not None)
    if len({limit.name for limit in limits}) < len(limits):
        raise ValueError("two limits of one kind have the same key, or none: one of them says it all")
    return limits
