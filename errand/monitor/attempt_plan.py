"""Plans the attempts of a job: when each would begin if the one before failed at once, by its type's retry policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

from errand.job.job_type import JobType
from errand.monitor.job_snapshot import JobSnapshot
from errand.wire.limits import LATEST_MS


@dataclass(frozen=True, slots=True)
class AttemptPlan:
    """The attempts that a job still has ahead, without jitter. Times are ms since the epoch."""

    attempts_ms: tuple[int, ...]
    """When each attempt that has not started would begin."""
    gives_up_ms: int | None
    """When the last of them would have failed; if that one runs, when its time limit ends."""


@lru_cache(maxsize=1024)
def offsets_ms(job_type: JobType[Any, Any], *, started: int, max_tries: int) -> tuple[int, ...]:
    """When each attempt after the first `started` begins, in ms after the next one, whose offset, 0, comes first."""
    waits = (int(job_type.retry.planned_s(attempt) * 1000) for attempt in range(started + 1, max_tries))
    return tuple(accumulate(waits, initial=0)) if started < max_tries else ()


def plan_of(job: JobSnapshot, job_type: JobType[Any, Any], *, max_tries: int) -> AttemptPlan:
    """The plan of a job that has not ended.

    The plan of a running job is counted from the start of its attempt, so that it does not change until that has ended.
    """
    if job.status != "in_progress":
        return _from(job.run_at_ms, offsets_ms(job_type, started=job.tries, max_tries=max_tries))
    if job.started_at_ms is None:  # a stock worker's, which does not say
        return AttemptPlan((), None)
    if job.tries >= max_tries:
        return AttemptPlan((), min(job.started_at_ms + int(job_type.timeout_s * 1000), LATEST_MS))
    wait_ms = int(job_type.retry.planned_s(max(job.tries, 1)) * 1000)
    return _from(job.started_at_ms + wait_ms, offsets_ms(job_type, started=job.tries, max_tries=max_tries))


def _from(next_ms: int | None, offsets: tuple[int, ...]) -> AttemptPlan:
    if next_ms is None or not offsets:
        return AttemptPlan((), None)
    attempts_ms = tuple(min(next_ms + offset, LATEST_MS) for offset in offsets)
    return AttemptPlan(attempts_ms, attempts_ms[-1])
