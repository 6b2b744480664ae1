"""How long a failover delayed jobs, beyond the time until another node had their slot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tests.chaos.accounting import Record
from tests.chaos.faults import SETTLE_S, Fault
from tests.chaos.flows.jobs import BEFORE
from tests.chaos.load.ledger import Wish
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
    hit: frozenset[int] = frozenset({0})
    """The partitions whose slots it was about."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A job that could have started at the one time, and started at the other."""

    since_s: float
    started_s: float
    partition: int


def waits_of(records: Iterable[Record]) -> list[Wait]:
    """Of each attempt: since it was due, and since the job that it follows had ended."""
    known = list(records)
    ended_s = {record.root: record.attempts[-1].ended_at_ms / 1000 for record in known if _is_ended_root(record)}
    return sorted(
        (
            Wait(_since_s(record, at, ended_s), attempt.started_at_ms / 1000, record.partition)
            for record in known
            if record.type in FREE
            for at, attempt in enumerate(record.attempts)
        ),
        key=lambda wait: wait.started_s,
    )


def longest_waits(failovers: Iterable[Failover], waits: Sequence[Wait], faults: Sequence[Fault]) -> Iterator[Delay]:
    """Of each failover: how much later than that the last job started that could have started before."""
    for failover in failovers:
        late = [
            wait.started_s
            for wait in waits
            if wait.partition in failover.hit and wait.since_s <= failover.detected_s < wait.started_s
        ]
        if late:
            yield _delay(failover, max(late), faults)


def first_starts(failovers: Iterable[Failover], waits: Sequence[Wait], faults: Sequence[Fault]) -> Iterator[Delay]:
    """Of each failover: how much later than that, and than it was due, the next attempt began.

    While no API is there nothing may be due.
    """
    for failover in failovers:
        of_hit = (wait for wait in waits if wait.partition in failover.hit)
        first = next((wait for wait in of_hit if wait.started_s > failover.detected_s), None)
        if first is not None:
            delay = _delay(failover, first.started_s, faults)
            yield replace(delay, took_s=first.started_s - max(failover.detected_s, first.since_s))


def waits_elsewhere(failovers: Sequence[Failover], waits: Iterable[Wait]) -> tuple[list[float], list[float]]:
    """How long jobs waited that were due in another partition while a failover was under way, and at other times."""
    meanwhile: list[float] = []
    otherwise: list[float] = []
    for wait in waits:
        under_way = [each for each in failovers if each.began_s <= wait.since_s <= each.detected_s]
        if not under_way:
            otherwise.append(wait.started_s - wait.since_s)
        elif not any(wait.partition in each.hit for each in under_way):
            meanwhile.append(wait.started_s - wait.since_s)
    return meanwhile, otherwise


def first_accepted(
    failovers: Iterable[Failover], accepted: Iterable[tuple[Wish, Record]], faults: Sequence[Fault]
) -> Iterator[Delay]:
    """Of each failover: how much later than that the next job was accepted."""
    moments = sorted((wish.accepted_s, record.partition) for wish, record in accepted)
    for failover in failovers:
        of_hit = (accepted_s for accepted_s, partition in moments if partition in failover.hit)
        first = next((accepted_s for accepted_s in of_hit if accepted_s > failover.detected_s), None)
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
