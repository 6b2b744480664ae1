"""How long it took to go on after a fault."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.accounting import Ended, Record
from tests.chaos.faults import SETTLE_S, Fault

LOST = frozenset({"lost", "crashed"})


@dataclass(frozen=True, slots=True)
class Delay:
    """From a fault to the moment when work went on, in seconds."""

    took_s: float
    alone: bool
    """No other fault fell into that time: it shows what this one costs."""


def after_kills(records: Iterable[Record], faults: Sequence[Fault]) -> list[Delay]:
    """Of each attempt that ran in a worker when it was killed: until the job's next attempt began."""
    kills = {fault.pid: fault for fault in faults if fault.kind == "kill worker"}
    return [
        _delay(kill, next_ms / 1000, faults)
        for record in records
        for attempt, next_ms in _lost_attempts(record)
        if (kill := kills.get(attempt.pid)) and attempt.started_at_ms <= kill.began_s * 1000 <= attempt.ended_at_ms
    ]


def after_redis(records: Iterable[Record], faults: Sequence[Fault]) -> list[Delay]:
    """Of each time that Redis came back: until the first attempt began."""
    starts_ms = sorted(attempt.started_at_ms for record in records for attempt in record.attempts)
    delays = []
    for fault in faults:
        if fault.kind in ("kill Redis", "restart Redis"):
            first = bisect_left(starts_ms, fault.ended_s * 1000)
            if first < len(starts_ms):
                took_s = starts_ms[first] / 1000 - fault.ended_s
                delays.append(Delay(took_s, _is_alone(fault, starts_ms[first] / 1000, faults)))
    return delays


def share_s(delays: Sequence[Delay], share: float) -> float:
    """That percentile, by nearest rank; 0 where there is none."""
    ordered = sorted(delay.took_s for delay in delays)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def _lost_attempts(record: Record) -> Iterable[tuple[Ended, int]]:
    for attempt, following in zip(record.attempts, record.attempts[1:], strict=False):
        if attempt.outcome in LOST:
            yield attempt, following.started_at_ms


def _delay(kill: Fault, until_s: float, faults: Sequence[Fault]) -> Delay:
    return Delay(until_s - kill.began_s, _is_alone(kill, until_s, faults))


def _is_alone(fault: Fault, until_s: float, faults: Sequence[Fault]) -> bool:
    """The API's faults do not count: it has no part in a recovery."""
    return not any(
        other is not fault and "API" not in other.kind and other.overlaps(fault.began_s - SETTLE_S, until_s)
        for other in faults
    )
