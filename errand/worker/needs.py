"""The jobs that a claimed one has waited for: how they have ended decides whether it is started, with which args."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from errand.job.control import Snooze
from errand.redis.outage import is_outage
from errand.wire import codec, keys
from errand.wire.flow import Needs, filled
from errand.wire.records import JobCancelled, JobFailed
from errand.worker.runners.claimed_job import ClaimedJob

LOOK_AGAIN_S = 1.0
"""A job that was put again, and so was one that it waits for, looks so often whether that one has ended."""


READ_HERE = 200
"""More results than that are read in a thread: they would hold up the loop."""


class DependencyFailed(Exception):
    """A job that this one waited for did not succeed."""


class DependencyCancelled(asyncio.CancelledError):
    """A job that this one waited for was cancelled: so is this one."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one of them has ended."""

    job_id: str
    status: str
    """`succeeded`, `failed`, `cancelled`, `unknown`; empty as long as it has not ended."""
    record: Mapping[str, Any]
    """Its result record; empty if none was kept."""

    @property
    def result(self) -> Any:
        return self.record.get("r") if self.status == "succeeded" else None

    @property
    def error(self) -> Mapping[str, str] | None:
        failure = self.record.get("r")
        if not isinstance(failure, JobFailed | JobCancelled):
            return None
        return {"type": failure.error.type, "message": failure.error.message}

    @property
    def in_words(self) -> str:
        what = f"{self.record['f']} " if isinstance(self.record.get("f"), str) else ""
        why = f": {self.error['type']}: {self.error['message']}" if self.error else ""
        return f"job {what}{self.job_id}, for which it waited, {VERBS.get(self.status, 'is not known')}{why}"


VERBS = {"failed": "failed", "cancelled": "was cancelled"}


async def refusal(redis: Redis, job: ClaimedJob, needs: Needs) -> BaseException | None:
    """Why the job must not be started; None if it may be: then it has the args that it is given."""
    try:
        kept = await redis.hgetall(keys.needs(job.claim.job_id))  # type: ignore[misc]  # redis-py: async or not
    except Exception as error:
        if not is_outage(error):
            raise
        return Snooze("Redis was away when it was to begin", after_s=LOOK_AGAIN_S)
    if len(needs.jobs) > READ_HERE:
        ended = await asyncio.to_thread(_read, needs, kept)
    else:
        ended = _read(needs, kept)
    refused = _unmet(ended) if needs.run_after == "all_succeeded" else None
    if refused is None and not all(one.status for one in ended):
        reason = "one of the jobs that it waits for was put again"
        return Snooze(reason, after_s=LOOK_AGAIN_S, code="dependency")
    if refused is None:
        job.given = filled(job.flow.handed, _values(ended))
    return refused


def _read(needs: Needs, kept: Mapping[bytes, bytes]) -> list[Ended]:
    return [_ended(job_id, kept.get(f"job:{job_id}".encode(), b"unknown ")) for job_id, _ in needs.jobs]


def _ended(job_id: str, kept: bytes) -> Ended:
    status, _, record = kept.partition(b" ")
    return Ended(job_id, status.decode(), codec.readable_or_empty(record) if record else {})


def _unmet(ended: Sequence[Ended]) -> BaseException | None:
    others = [one for one in ended if one.status not in ("succeeded", "")]
    if not others:
        return None
    # a failure says more than a cancel
    first = min(others, key=lambda one: one.status == "cancelled")
    more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
    kind = DependencyCancelled if first.status == "cancelled" else DependencyFailed
    return kind(f"{first.in_words}{more}")


def _values(ended: Sequence[Ended]) -> dict[str, Any]:
    """What such a job may be given."""
    return {
        "results": [one.result for one in ended],
        "outcomes": [
            {"id": one.job_id, "status": one.status, "result": one.result, "error": one.error} for one in ended
        ],
    }
