"""Counts attempts and their latencies in the process; the heartbeat adds them up in Redis, so that counting is free."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

from errand.wire.records import Attempt

BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000)
"""Upper bounds of the histograms' buckets; what is longer counts as `inf`."""


DEFERRED_MS = 1_000
"""An attempt is deferred if it was due so long after its job was accepted; the two clocks may differ by less."""


class Counters:
    """Since the last heartbeat: `attempts:<outcome>`, `wait_ms:<bound>`, `run_ms:<bound>` and, with the same bounds,
    `late_ms`, each with its `<name>:sum`; `stale`, `leases_lost`, `letters:<outcome>`, `posts:<outcome>`.

    While a job blocks the loop, the watchdog adds `blocked_ms:<type>` by itself.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def count(self, ended: Attempt, *, enqueued_at_ms: int) -> None:
        """An attempt that has ended."""
        counts, wait_ms = self._counts, max(ended.started_at_ms - ended.due_at_ms, 0)
        run_ms = ended.ended_at_ms - ended.started_at_ms
        counts[f"attempts:{ended.outcome}"] += 1
        counts[_bucket("wait_ms", wait_ms)] += 1
        counts["wait_ms:sum"] += wait_ms
        counts[_bucket("run_ms", run_ms)] += 1
        counts["run_ms:sum"] += run_ms
        if ended.due_at_ms - enqueued_at_ms >= DEFERRED_MS:
            counts[_bucket("late_ms", wait_ms)] += 1
            counts["late_ms:sum"] += wait_ms

    def count_stale(self, number: int) -> None:
        """Outcomes that were dropped because the lease was another's by then."""
        self._counts["stale"] += number

    def add(self, name: str, number: int = 1) -> None:
        """Anything else, by the name of its counter."""
        self._counts[name] += number

    def take(self) -> dict[str, int]:
        """Hands over what was counted, and begins anew."""
        taken, self._counts = self._counts, Counter()
        return dict(taken)

    def put_back(self, counts: Mapping[str, int]) -> None:
        """Counts what could not be written, or what another process has counted, with the next heartbeat."""
        self._counts.update(counts)


_NAMES = {kind: [f"{kind}:{bound}" for bound in (*BUCKETS_MS, "inf")] for kind in ("wait_ms", "run_ms", "late_ms")}


def _bucket(kind: str, value_ms: int) -> str:
    return _NAMES[kind][bisect_left(BUCKETS_MS, value_ms)]
