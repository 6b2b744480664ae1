"""What becomes of equal jobs that are put one after another: they are debounced, or throttled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from errand.job.limits.key_template import KeyTemplate


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """`debounce`: a job waits until none has been put for the period, then runs once with the args of the last.

    `throttle`: the first one runs, and no other is put until the period has gone by.

    Jobs are equal if their `key` is, a template over the fields of the args; without it if all their args are.
    """

    kind: Literal["debounce", "throttle"]
    period_s: float
    key: str | None = None

    @property
    def for_s(self) -> float | None:
        """How long a job stands for its equals from its enqueue on; None: until it starts or ends."""
        return self.period_s if self.kind == "throttle" else None

    @property
    def moves(self) -> bool:
        """A job that waits takes the args of the next, and waits anew."""
        return self.kind == "debounce"

    @property
    def delay_ms(self) -> int:
        """How long after its enqueue a job is due."""
        return int(self.period_s * 1000) if self.kind == "debounce" else 0

    def key_of(self, args: Mapping[str, Any]) -> str:
        """The unique key of a job with these args, as the queue keeps them; what is in them cannot be read from it."""
        text = json.dumps(args, sort_keys=True) if self.key is None else KeyTemplate.of(self.key).key(args)
        return f"{self.kind}:{hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()}"


def repeats_of(
    debounce_s: float | None, debounce_key: str | None, throttle_s: float | None, throttle_key: str | None
) -> Repeats | None:
    """Raises ValueError for both, for a key without its period, and for a period that is none."""
    for name, key, period_s in (("debounce", debounce_key, debounce_s), ("throttle", throttle_key, throttle_s)):
        if key is not None and period_s is None:
            raise ValueError(f"{name}_key says nothing without {name}")
        if period_s is not None and period_s < 0.001:
            raise ValueError(f"{name} is at least a millisecond")
    if debounce_s is not None and throttle_s is not None:
        raise ValueError("debounce waits for the last of equal jobs, throttle keeps the first: give one of them")
    if debounce_s is not None:
        return Repeats(kind="debounce", period_s=debounce_s, key=debounce_key)
    if throttle_s is not None:
        return Repeats(kind="throttle", period_s=throttle_s, key=throttle_key)
    return None
