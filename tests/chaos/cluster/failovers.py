"""How long a failover delayed jobs, beyond the time until another node had their slot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.accounting import Record
from tests.chaos.faults import SETTLE_S, Fault
from tests.chaos.flows.jobs import BEFORE
from tests.chaos.load.ledger import Request
from tests.chaos.recovery import Delay

FREE = frozenset({"noop", "root", "step", "webhook", "welcome_email"})
"""Jobs that start as soon as they are due: nothing limits them."""

FIRST_STEPS = frozenset(path for path, before in BEFORE.items() if not before)


@dataclass(frozen=True, slots=True)
class Failover:
    """One node has taken over from another. Times are seconds since the epoch."""

    kind: str
    began_s: float
    detected_s: float
    """When another node had the slot, by its own word."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A job that could have started at the one time, and started at the other."""

    since_s: float
    started_s: float


def waits_of(records: Iterable[Record]) -> list[Wait]:
    """Of each attempt: since it was due, and since the job that it follows had ended."""
    known = list(records)
    ended_s = {record.root: record.attempts[-1].ended_at_ms / 1000 for record in known if _is_ended_root(record)}
    return sorted(
        (
            Wait(_since_s(record, at, ended_s), attempt.started_at_ms / 1000)
            for record in known
            if record.type in FREE
            for at, attempt in enumerate(record.attempts)
        ),
        key=lambda wait: wait.started_s,
    )


def longest_waits(failovers: Iterable[Failover], waits: Sequence[Wait], faults: Sequence[Fault]) -> Iterator[Delay]:
    """Of each failover: how much later than that the last job started that could have started before."""
    for failover in failovers:
        late = [wait.started_s for wait in waits if wait.since_s <= failover.detected_s < wait.started_s]
        if late:
            yield _delay(failover, max(late), faults)


def first_starts(failovers: Iterable[Failover], waits: Sequence[Wait], faults: Sequence[Fault]) -> Iterator[Delay]:
    """Of each failover: how much later than that the next attempt began."""
    for failover in failovers:
        first = next((wait.started_s for wait in waits if wait.started_s > failover.detected_s), None)
        if first is not None:
            yield _delay(failover, first, faults)


def first_answers(
    failovers: Iterable[Failover], requests: Iterable[Request], faults: Sequence[Fault]
) -> Iterator[Delay]:
    """Of each failover: how much later than that the next request was accepted."""
    answered_s = sorted(request.sent_s + request.took_s for request in requests if request.status == 202)
    for failover in failovers:
        first = next((moment for moment in answered_s if moment > failover.detected_s), None)
        if first is not None:
            yield _delay(failover, first, faults, api=True)


def _is_ended_root(record: Record) -> bool:
    return record.type == "root" and record.status == "succeeded" and bool(record.attempts)


def _since_s(record: Record, at: int, ended_s: dict[str, float]) -> float:
    due_s = record.attempts[at].due_at_ms / 1000
    follows_root = record.type == "step" and at == 0 and record.path in FIRST_STEPS
    return min(due_s, ended_s.get(record.root, due_s)) if follows_root else due_s


def _delay(failover: Failover, until_s: float, faults: Sequence[Fault], *, api: bool = False) -> Delay:
    """Alone if no fault of a process fell into that time; those of the API count for its answers only."""
    alone = not any(
        fault.target != "redis"
        and ("API" not in fault.kind or api)
        and fault.overlaps(failover.began_s - SETTLE_S, until_s)
        for fault in faults
    )
    return Delay(until_s - failover.detected_s, alone)
