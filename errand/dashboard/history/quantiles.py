"""Quantiles of times that were counted in buckets: between two bounds as if all were spread evenly."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

from errand.wire.counters import BUCKETS_MS

Measure = Literal["wait_ms", "run_ms"]

SHOWN = (0.5, 0.95, 0.99)


def quantile_ms(counted: Mapping[str, int], measure: Measure, share: float) -> float | None:
    """The time that this share of them took at most, in ms; None if there are none.

    What was longer than the last bound counts as that bound.
    """
    counts = [counted.get(f"{measure}:{bound}", 0) for bound in (*BUCKETS_MS, "inf")]
    rank = sum(counts) * share
    if not rank:
        return None
    for (low, high), count in zip(pairwise((0, *BUCKETS_MS)), counts, strict=False):
        if count and rank <= count:
            return low + (high - low) * rank / count
        rank -= count
    return float(BUCKETS_MS[-1])
