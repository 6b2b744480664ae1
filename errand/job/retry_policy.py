"""How long to wait after a failed attempt, so that a peer that is down is not flooded with requests."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

DAY_S = 86_400.0


class RetryPolicy(Protocol):
    """Decides the wait after a failed attempt."""

    def delay_s(self, attempt: int) -> float:
        """Seconds to wait after failed attempt number `attempt` (the first is 1), jitter included."""

    def planned_s(self, attempt: int) -> float:
        """The same without jitter: what documents show."""

    def describe(self) -> dict[str, object]:
        """The policy as plain values, for people to read: its kind and its numbers, with units in their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """Waits `base_s` seconds after the first failure, then `factor` times as long each time, at most `cap_s`.

    >>> @job(retry=Exponential(base_s=5, cap_s=3600))  # 5 s, 10 s, 20 s, … up to an hour

    Each wait is up to `jitter` (a share of the wait) shorter or longer, so that jobs that failed together do not all
    return together. Raises ValueError for numbers that make no policy.
    """

    base_s: float = 5.0
    factor: float = 2.0
    cap_s: float = 3600.0
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if not (self.base_s > 0 and self.factor >= 1 and self.cap_s >= self.base_s):
            raise ValueError("Exponential needs base_s > 0, factor >= 1 and cap_s >= base_s")
        _check_jitter(self.jitter)

    def delay_s(self, attempt: int) -> float:
        return min(_vary(self.planned_s(attempt), self.jitter), self.cap_s)

    def planned_s(self, attempt: int) -> float:
        # the exponent is bounded: a float overflows past 2 ** 1023
        return min(self.base_s * self.factor ** min(attempt - 1, 64), self.cap_s)

    def describe(self) -> dict[str, object]:
        return {
            "kind": "exponential",
            "base_s": self.base_s,
            "factor": self.factor,
            "cap_s": self.cap_s,
            "jitter": self.jitter,
        }


@dataclass(frozen=True, slots=True)
class Delays:
    """Waits as long as the list says, in seconds. After the end of the list the last wait repeats.

    >>> @job(retry=Delays([5, 60, 600]))

    `jitter` is as in `Exponential`; no wait is longer than `cap_s`. Raises ValueError for numbers that make no policy.
    """

    delays_s: Sequence[float]
    jitter: float = 0.1
    cap_s: float = DAY_S

    def __post_init__(self) -> None:
        if not self.delays_s or min(self.delays_s) < 0:
            raise ValueError("Delays needs at least one wait, none of them negative")
        _check_jitter(self.jitter)

    def delay_s(self, attempt: int) -> float:
        return min(_vary(self.planned_s(attempt), self.jitter), self.cap_s)

    def planned_s(self, attempt: int) -> float:
        return min(self.delays_s[min(attempt, len(self.delays_s)) - 1], self.cap_s)

    def describe(self) -> dict[str, object]:
        return {"kind": "delays", "delays_s": list(self.delays_s), "jitter": self.jitter, "cap_s": self.cap_s}


def _check_jitter(jitter: float) -> None:
    if not 0 <= jitter < 1:
        raise ValueError("jitter is a share of the wait: 0 <= jitter < 1")


def _vary(delay_s: float, jitter: float) -> float:
    return delay_s * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311  # jitter
