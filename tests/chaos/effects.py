"""Holds the effects that arrived against the records: none missing, none repeated without a reason, none a zombie's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.chaos.accounting import Accounts, Record
from tests.chaos.journal import Entry
from tests.chaos.limits.accounts import Disturbances
from tests.chaos.receivers import Receivers

LIKE_NOOPS = frozenset({"noop", "keyed", "paced"})
"""Jobs that return which attempt did it, and where."""


@dataclass(frozen=True, slots=True)
class Stay:
    """An attempt, from its first line to what it did, in ms since the epoch."""

    pid: int
    began_ms: float
    until_ms: float


@dataclass
class Effects:
    """What arrived of each job, counted by job id."""

    webhooks: Counter[str]
    letters: Counter[str]
    noops: Counter[str]
    files: Path
    """The folder of the storage: outputs of resizes lie in it."""
    latest_started: dict[str, int] = field(default_factory=dict)
    """The highest attempt that a no-op ever began, by job id."""
    done: set[tuple[str, int, int]] = field(default_factory=set)
    """What no-ops did: job id, attempt, pid."""
    runs: dict[str, list[Stay]] = field(default_factory=dict)
    """From when to when attempts ran that did it, by job id."""

    @classmethod
    def of(cls, receivers: Receivers, journal: Iterable[Entry], data_dir: Path) -> Effects:
        """From what the receivers counted and the workers noted."""
        effects = cls(receivers.webhooks, receivers.letters, Counter(), data_dir / "files")
        began_ms: dict[tuple[str, int, int], float] = {}
        for entry in journal:
            attempt = (entry.job_id, entry.attempt, entry.pid)
            if entry.what == "began":
                began_ms[attempt] = entry.at_ms
                effects.latest_started[entry.job_id] = max(entry.attempt, effects.latest_started.get(entry.job_id, 0))
            elif entry.what == "did":
                effects.noops[entry.job_id] += 1
                effects.done.add(attempt)
                stay = Stay(entry.pid, began_ms.get(attempt, entry.at_ms), entry.at_ms)
                effects.runs.setdefault(entry.job_id, []).append(stay)
        return effects

    def seen(self, record: Record) -> int:
        """How often this job's effect arrived. An image is stored under a name of its own: once is all one can see."""
        match record.type:
            case "webhook":
                return self.webhooks[record.id]
            case "welcome_email":
                return self.letters[record.id]
            case "resize":
                return int(self._stored(record))
            case _:
                return self.noops[record.id]

    def missing(self, accounts: Accounts) -> list[str]:
        """Succeeded jobs whose effect never arrived."""
        return [
            record.id for record in accounts.records.values() if record.status == "succeeded" and not self.seen(record)
        ]

    def repeats(self, accounts: Accounts) -> Counter[str]:
        """By job type: how often an effect arrived once more than needed."""
        repeated: Counter[str] = Counter()
        for record in accounts.records.values():
            repeated[record.type] += max(self.seen(record) - 1, 0)
        return +repeated

    def unexplained(self, accounts: Accounts) -> list[str]:
        """Jobs with more repeats than attempts of theirs were interrupted."""
        return [record.id for record in self._repeated_beyond(accounts)]

    def forgotten(self, accounts: Accounts, disturbances: Disturbances) -> list[str]:
        """Those of them that lived when a master fell: it may not have handed on a claim or an outcome."""
        return [
            record.id
            for record in self._repeated_beyond(accounts)
            if record.attempts and disturbances.of_redis(record.attempts[0].due_at_ms, record.attempts[-1].ended_at_ms)
        ]

    def _repeated_beyond(self, accounts: Accounts) -> Iterator[Record]:
        for record in accounts.records.values():
            if max(self.seen(record) - 1, 0) > record.interrupted:
                yield record

    def at_once(self, disturbances: Disturbances) -> tuple[list[str], list[str]]:
        """Jobs that two attempts ran at the same time: those that no fault explains, and those that one does.

        It does if it hit the worker of the first, or Redis, before the second began: a lease may have lapsed then.
        """
        unexplained: list[str] = []
        explained: list[str] = []
        for job_id, stays in self.runs.items():
            for one, other in pairwise(sorted(stays, key=lambda stay: stay.began_ms)):
                if other.began_ms < one.until_ms:
                    hit = disturbances.first_ms(one.pid, one.began_ms, other.began_ms) < other.began_ms
                    (explained if hit else unexplained).append(job_id)
        return unexplained, explained

    def after_cancel(self, accounts: Accounts) -> list[str]:
        """Jobs that a cancel called cancelled and that are not, or ran to their effect without being interrupted."""
        return [
            record.id
            for wish, record in accounts.accepted_records
            if wish.end == "cancelled" and (record.status != "cancelled" or self.seen(record) > record.interrupted)
        ]

    def zombies(self, accounts: Accounts) -> list[str]:
        """Successes that were not their owner's to report, each with what is wrong.

        An attempt that was followed by another had lost its lease: only the latest started may be the recorded one. And
        the no-op's own words, what it returned and what it noted, must be those of the recorded attempt.
        """
        return [f"{record.id}: {wrong}" for record in accounts.records.values() for wrong in self._wrongs(record)]

    def _wrongs(self, record: Record) -> list[str]:
        wrongs = list(record.inconsistencies())
        if record.type in LIKE_NOOPS and record.status == "succeeded" and record.attempts:
            last = record.attempts[-1]
            if record.result != {"attempt": last.number, "pid": last.pid}:
                wrongs.append(f"the record is of attempt {last.number} by {last.pid}, its result of {record.result}")
            if (record.id, last.number, last.pid) not in self.done:
                wrongs.append(f"attempt {last.number} by {last.pid} is recorded and never did it")
            if self.latest_started.get(record.id, 0) > last.number:
                wrongs.append(f"attempt {last.number} is recorded, but attempt {self.latest_started[record.id]} began")
        return wrongs

    def _stored(self, record: Record) -> bool:
        """Every output is there, whole."""
        folder = self.files / "resize" / record.id
        outputs = (record.result or {}).get("outputs", [])
        return bool(outputs) and all(
            (path := folder / output["url"].rpartition("/")[2]).is_file() and path.stat().st_size == output["bytes"]
            for output in outputs
        )
