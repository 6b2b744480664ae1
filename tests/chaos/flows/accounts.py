"""Holds the steps that are in Redis against the roots that have them follow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from errand.monitor.job_snapshot import ENDS
from tests.chaos.accounting import CLOCK_MS, Record
from tests.chaos.flows.jobs import BEFORE, FAILS
from tests.chaos.load.ledger import STEP_TYPES


@dataclass
class Steps:
    """What became of all steps."""

    number: int = 0
    late: int = 0
    """How many of them were put by themselves, and wait for others (`depends_on`)."""
    lost: list[str] = field(default_factory=list)
    """`mark path` of those that should have followed and are not there, or have not ended."""
    doubled: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    """Those that are there, or began, without the success of what they follow."""
    wrong: list[str] = field(default_factory=list)
    """Those that ended otherwise than they should have."""

    @classmethod
    def of(cls, records: Collection[Record]) -> Steps:
        roots: dict[str, Record] = {}
        by_root: dict[str, dict[str, list[Record]]] = {}
        for record in records:
            if record.type == "root":
                roots[record.root] = record
            elif record.type in STEP_TYPES:
                by_root.setdefault(record.root, {}).setdefault(record.path, []).append(record)
        steps = cls()
        for mark in roots.keys() | by_root.keys():
            steps._add(mark, roots.get(mark), by_root.get(mark, {}))
        by_id = {root.id: root for root in roots.values()}
        for record in records:
            if record.type == "late":
                steps._add_late(record, [by_id.get(other) for other in record.args["after"]])
        return steps

    def _add_late(self, late: Record, roots: Sequence[Record | None]) -> None:
        """One that waits for some roots. Whether it is there and has ended is seen as of every accepted job."""
        self.number += 1
        self.late += 1
        if late.status in ENDS:
            self.early += [f"{late.id}: {why}" for why in _began_early(late, roots)]

    def _add(self, mark: str, root: Record | None, found: Mapping[str, list[Record]]) -> None:
        self.number += sum(map(len, found.values()))
        self.doubled += [f"{mark} {path}" for path, records in found.items() if len(records) > 1]
        if root is None or root.status != "succeeded":
            self.early += [f"{mark} {path}" for path in found]
            return
        ended = {path for path, records in found.items() if records[0].status in ENDS}
        self.lost += [f"{mark} {path}" for path in BEFORE if path not in ended]
        for path, records in found.items():
            before = [found.get(other, [None])[0] for other in BEFORE[path]] or [root]
            self.early += [f"{mark} {path}: {why}" for why in _began_early(records[0], before)]
            if records[0].status != "succeeded" and not (path == FAILS and records[0].error == "Fail"):
                self.wrong.append(f"{mark} {path}: {records[0].status} {records[0].error}")


def _began_early(step: Record, before: Iterable[Record | None]) -> Iterator[str]:
    for other in before:
        if other is None or other.status not in ENDS or (other.status != "succeeded" and other.path != FAILS):
            yield "what it follows has not succeeded"
        elif (
            step.attempts
            and other.attempts
            and step.attempts[0].started_at_ms < other.attempts[-1].ended_at_ms - CLOCK_MS
        ):
            yield f"began before {other.path or 'the root'} had ended"
