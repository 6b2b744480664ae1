"""Holds what ran at once, what started within a time and what was put twice against the limits.

A worker that a fault has hit may have lost its leases, and with them the slots of what it runs, without knowing it: an
attempt counts until it was left, or until the first fault that hit its worker, that worker's link or Redis.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.accounting import CLOCK_MS, Record
from tests.chaos.faults import Fault
from tests.chaos.journal import Entry
from tests.chaos.limits.jobs import ALL_AT_ONCE, OF_ONE_AT_ONCE, PERIOD_S, QUIET_S, WITHIN_S
from tests.chaos.load.ledger import Repeat

NOBODY = -1
"""No process has that pid."""
LATE_START_S = 1.0
"""An attempt that no fault has hit begins within that time of the claim in which it was counted."""


@dataclass(frozen=True, slots=True)
class Stay:
    """An attempt that held a slot for sure."""

    customer: str
    job_id: str
    began_ms: float
    until_ms: float


class Disturbances:
    """When the leases of a worker process may have lapsed, or its claims have been under way for long."""

    def __init__(self, faults: Iterable[Fault], standstills: Iterable[tuple[float, float]]) -> None:
        self._of_all: list[tuple[float, float]] = list(standstills)
        self._of_one: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for fault in faults:
            times = self._of_all if fault.target == "redis" else self._of_one[fault.pid]
            times.append((fault.began_s, fault.ended_s))

    def of_redis(self, began_ms: float, until_ms: float) -> bool:
        """True if Redis, or the whole machine, was hit within that time."""
        return self.first_ms(NOBODY, began_ms, until_ms) < until_ms

    def first_ms(self, pid: int, began_ms: float, until_ms: float) -> float:
        """When the first begins within that time, or `until_ms`."""
        begins = [
            max(began_s * 1000, began_ms)
            for began_s, ended_s in (*self._of_all, *self._of_one.get(pid, ()))
            if began_s * 1000 < until_ms and ended_s * 1000 > began_ms
        ]
        return min(begins, default=until_ms)


@dataclass
class LimitAccounts:
    """What was seen of limits, and what was wrong."""

    attempts: int = 0
    """Of the types with a limit on how many run at once."""
    disturbed: int = 0
    """How many of them a fault hit, and count until then."""
    most_of_one: int = 0
    most_of_all: int = 0
    too_many: list[str] = field(default_factory=list)
    most_starts: int = 0
    """Of one customer, within the time of its rate less that in which a start may be late."""
    largest_batch: int = 0
    unsettled: list[str] = field(default_factory=list)
    """Debounced jobs that ran too soon, or without the last of the changes that they stand for."""
    unthrottled: list[str] = field(default_factory=list)
    """Pairs of jobs of one topic that were both put within the period."""
    repeats: int = 0
    stood_for_others: int = 0
    """Jobs that were put once more, and were not."""

    @classmethod
    def of(
        cls,
        records: Mapping[str, Record],
        entries: Sequence[Entry],
        repeats: Sequence[Repeat],
        disturbances: Disturbances,
    ) -> LimitAccounts:
        accounts = cls(largest_batch=max((_batch(record) for record in records.values()), default=0))
        accounts._add_stays(_stays(records, entries, disturbances))
        accounts._add_starts(records, entries, disturbances)
        accounts._add_repeats(records, repeats)
        return accounts

    def _add_stays(self, stays: Iterable[tuple[Stay, bool]]) -> None:
        found = list(stays)
        self.attempts, self.disturbed = len(found), sum(is_cut for _, is_cut in found)
        running: Counter[str] = Counter()
        moments = [moment for stay, _ in found for moment in _moments(stay)]
        for _, step, at in sorted(moments, key=lambda moment: moment[:2]):
            running[at.customer] += step
            self.most_of_one = max(self.most_of_one, running[at.customer])
            self.most_of_all = max(self.most_of_all, running.total())
            if step > 0 and (running[at.customer] > OF_ONE_AT_ONCE or running.total() > ALL_AT_ONCE):
                self.too_many.append(f"{at.job_id} of {at.customer} at {at.began_ms:.0f}")

    def _add_starts(self, records: Mapping[str, Record], entries: Sequence[Entry], disturbances: Disturbances) -> None:
        begins: dict[str, list[float]] = defaultdict(list)
        for entry in entries:
            record = records.get(entry.job_id)
            if entry.what == "began" and record is not None and record.type == "paced":
                earliest_ms = entry.at_ms - LATE_START_S * 1000
                if disturbances.first_ms(entry.pid, earliest_ms, entry.at_ms) == entry.at_ms:
                    begins[record.key].append(entry.at_ms)
        for times in begins.values():
            self.most_starts = max(self.most_starts, _most_within(sorted(times), (WITHIN_S - LATE_START_S) * 1000))

    def _add_repeats(self, records: Mapping[str, Record], repeats: Sequence[Repeat]) -> None:
        self.repeats = len(repeats)
        self.stood_for_others = sum(each.request.is_equal for each in repeats)
        by_topic: dict[str, list[Repeat]] = defaultdict(list)
        for each in repeats:
            record = records.get(each.job_id)
            if record is not None and record.type == "settled":
                self.unsettled += _wrongs_of_settled(record, each)
            elif record is not None and not each.request.is_equal:
                by_topic[each.topic].append(each)
        for put in by_topic.values():
            self.unthrottled += [
                f"{one.job_id} and {other.job_id}" for one, other in pairwise(put) if _too_soon(one, other)
            ]


def _stays(
    records: Mapping[str, Record], entries: Sequence[Entry], disturbances: Disturbances
) -> Iterable[tuple[Stay, bool]]:
    """Each attempt that held a slot, and whether a fault hit it."""
    left = {(entry.job_id, entry.attempt, entry.pid): entry.at_ms for entry in entries if entry.what == "left"}
    for entry in entries:
        record = records.get(entry.job_id)
        if entry.what == "began" and record is not None and record.type == "keyed":
            until_ms = left.get((entry.job_id, entry.attempt, entry.pid), float("inf"))
            first_ms = disturbances.first_ms(entry.pid, entry.at_ms, until_ms)
            # one that was never left, and that no fault has hit, ended with a process that ended by itself
            known_ms = entry.at_ms if first_ms == float("inf") else first_ms
            yield Stay(record.key, record.id, entry.at_ms, known_ms), first_ms < until_ms


def _moments(stay: Stay) -> Iterable[tuple[float, int, Stay]]:
    """When it begins to count, and when it ends to."""
    if stay.until_ms - CLOCK_MS > stay.began_ms:
        yield stay.began_ms, 1, stay
        yield stay.until_ms - CLOCK_MS, -1, stay


def _most_within(times: Sequence[float], span_ms: float) -> int:
    """How many of these sorted times lie within such a span, at most."""
    most = first = 0
    for last, time_ms in enumerate(times):
        while times[first] <= time_ms - span_ms:
            first += 1
        most = max(most, last - first + 1)
    return most


def _wrongs_of_settled(record: Record, put: Repeat) -> Iterable[str]:
    known = record.args.get("number", 0)
    if known < put.number:
        yield f"{record.id} knows of change {known} of {put.topic}, and stands for {put.number}"
    elif record.attempts and record.attempts[0].started_at_ms < (put.request.sent_s + QUIET_S) * 1000 - CLOCK_MS:
        yield f"{record.id} began before {put.topic} had been quiet after change {put.number}"


def _too_soon(one: Repeat, other: Repeat) -> bool:
    """True if both were put within the period for sure: each was between its request and the answer to that."""
    return other.request.sent_s + other.request.took_s - one.request.sent_s < PERIOD_S - CLOCK_MS / 1000


def _batch(record: Record) -> int:
    return int(record.result) if record.type == "gathered" and record.status == "succeeded" else 0
