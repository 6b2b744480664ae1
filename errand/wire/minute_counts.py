"""Where the counters of each minute of a day lie: a string for each hour, with 32 bits for each.

A queue's day takes 26 strings of at most 9.9 kB, about 260 kB, however many jobs there are. The order of the counters
is a part of the wire format: a new one is added at the end, and with it the number in the key's name changes.
"""

from __future__ import annotations

from collections.abc import Mapping

from errand.wire.counters import BUCKETS_MS

OUTCOMES = ("succeeded", "retry", "failed", "cancelled", "handed_back", "lost", "crashed")

BOUNDS = (*BUCKETS_MS, "inf")

COUNTERS = (
    *(f"attempts:{outcome}" for outcome in OUTCOMES),
    *(f"wait_ms:{bound}" for bound in BOUNDS),
    *(f"run_ms:{bound}" for bound in BOUNDS),
)
"""The counters that a worker reports (`wire.counters`), in the order in which they lie."""

POSITIONS = {name: position for position, name in enumerate(COUNTERS)}

BYTES_EACH = 4

MINUTES_IN_HOUR = 60

KEPT_MS = 26 * 3_600_000
"""From the last change of an hour's string on: a day, and the hours at its ends."""


def positioned(counters: Mapping[str, int]) -> list[int]:
    """Position and number of each of these counters that has a position, flat."""
    return [part for name, number in counters.items() if name in POSITIONS for part in (POSITIONS[name], number)]
