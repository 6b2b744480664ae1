"""What a worker says of itself with each heartbeat: for `/v1/workers`, and to say why a job waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """One worker of one queue. Each field has a default: a worker may be of another version than the reader."""

    version: str | None = None
    slots: int = 0
    """How many jobs it runs at once; while it drains, how many it still runs."""
    types: Sequence[str] | None = None
    """The job types and functions that it knows; None if unknown."""
    loop_lag_ms: float | None = None
    """How late its event loop was at most since the heartbeat before; None if unknown."""
    draining: bool = False
    """It takes no more jobs."""

    def as_json(self) -> bytes:
        return to_json(self)

    @classmethod
    def read(cls, report: bytes | None) -> Self:
        """From a heartbeat; a report that is missing or makes no sense says nothing."""
        try:
            return _REPORT.validate_json(report or b"{}")  # type: ignore[return-value]  # the only class there is
        except ValidationError:
            return cls()

    def knows(self, type_name: str) -> bool:
        """True also if it does not say."""
        return self.types is None or type_name in self.types


_REPORT = TypeAdapter(WorkerReport)


def live_reports(
    heartbeats: Sequence[tuple[bytes, float]], reports: Mapping[bytes, bytes], *, now_ms: int, silent_s: float
) -> dict[str, WorkerReport]:
    """The last report of each worker that lives, by its name. `now_ms`: of the server's clock."""
    first_ms, last_ms = alive_between_ms(now_ms, silent_s=silent_s)
    return {
        worker.decode(errors="replace"): WorkerReport.read(reports.get(worker))
        for worker, at_ms in heartbeats
        if first_ms <= at_ms <= last_ms
    }


def alive_between_ms(now_ms: int, *, silent_s: float) -> tuple[int, int]:
    """When a worker that lives has sent its last heartbeat, if that was no more than `silent_s` seconds ago.

    One of a later time is of before the server's clock was set back. Since `now_ms` was asked for others may have come.
    """
    return now_ms - int(silent_s * 1000), now_ms + int(silent_s * 1000)
