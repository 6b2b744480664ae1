"""Counting in the process, to be added up in Redis with a heartbeat."""

from __future__ import annotations

from errand.wire.counters import DEFERRED_MS, Counters
from errand.wire.records import Attempt, RunningAttempt


def ended(*, wait_ms: int, run_ms: int) -> Attempt:
    started = RunningAttempt(number=1, due_at_ms=1000, started_at_ms=1000 + wait_ms, worker="w")
    return Attempt.end(started, "succeeded", at_ms=1000 + wait_ms + run_ms)


def test_attempts_fall_into_the_first_bucket_that_holds_them() -> None:
    counters = Counters()
    for wait_ms, run_ms in ((0, 0), (1, 2), (2, 3), (10**9, 300_000)):
        counters.count(ended(wait_ms=wait_ms, run_ms=run_ms), enqueued_at_ms=1000)
    assert counters.take() == {
        "attempts:succeeded": 4,
        **{"wait_ms:1": 2, "wait_ms:2": 1, "wait_ms:inf": 1},
        **{"run_ms:1": 1, "run_ms:2": 1, "run_ms:5": 1, "run_ms:300000": 1},
        **{"wait_ms:sum": 10**9 + 3, "run_ms:sum": 300_005},
    }


def test_what_was_deferred_counts_as_late_as_well() -> None:
    counters = Counters()
    counters.count(ended(wait_ms=7, run_ms=0), enqueued_at_ms=1000 - DEFERRED_MS)
    late = {name: number for name, number in counters.take().items() if name.startswith("late_ms")}
    assert late == {"late_ms:10": 1, "late_ms:sum": 7}


def test_what_is_taken_is_counted_once_and_what_could_not_be_written_again() -> None:
    counters = Counters()
    counters.count_stale(2)
    taken = counters.take()
    assert (taken, counters.take()) == ({"stale": 2}, {})
    counters.count_stale(1)
    counters.put_back(taken)
    assert counters.take() == {"stale": 3}
