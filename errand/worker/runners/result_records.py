"""The result record of an ended job: Arq's fields, which stock Arq reads, and beside them its attempts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import PydanticSerializationError

from errand.wire import codec
from errand.wire.flow import NO_FLOW
from errand.wire.limits import NO_LIMITS
from errand.wire.origin import NO_ORIGIN, ORIGIN, OWN, OWN_TRACE, dumps_with
from errand.wire.records import Attempt, Error, JobFailed, Progress
from errand.worker.runners.claimed_job import ClaimedJob

RECORD_LIMIT_BYTES = 16 * 1024 * 1024
"""Larger results belong into storage; Redis cuts the connection over 512 MB, which would look like its absence."""


@dataclass(frozen=True, slots=True)
class ResultRecords:
    """Makes the result records of the jobs of one queue."""

    queue: str

    def settle(
        self, job: ClaimedJob, ended: Attempt, result: Any, progress: Progress | None
    ) -> tuple[Attempt, bytes | None]:
        """The attempt as it counts, and the record of its job; None if another attempt follows.

        A result that cannot be kept, because it has no JSON form or is too large, makes the attempt a failed one.
        """
        if ended.next_attempt_at_ms is not None:
            return ended, None
        try:
            record = self._of_last(job, ended, result, progress)
        except PydanticSerializationError as error:
            reason = f"the result has no JSON form: {error}"
        else:
            if len(record) <= RECORD_LIMIT_BYTES:
                return ended, record
            reason = f"the record has {len(record)} bytes, over the limit of {RECORD_LIMIT_BYTES}"
        failed = Attempt.end(
            ended, "failed", at_ms=ended.ended_at_ms, error=Error("InvalidResult", reason), blocked=ended.blocked
        )
        return failed, self._of_last(job, failed, None, progress)

    def unstarted(self, job: ClaimedJob, failure: JobFailed, *, at_ms: int) -> bytes:
        """The record of a job that ends without another attempt."""
        fields = self._fields(job, failure, succeeded=False, started_at_ms=at_ms, ended_at_ms=at_ms)
        return dumps_with(job.origin, {**fields, "attempts": _earlier_attempts(job)})

    def _of_last(self, job: ClaimedJob, ended: Attempt, result: Any, progress: Progress | None) -> bytes:
        if ended.error is not None:
            result = JobFailed(ended.error, cancelled=ended.outcome == "cancelled")
        fields = self._fields(
            job,
            result,
            succeeded=ended.outcome == "succeeded",
            started_at_ms=ended.started_at_ms,
            ended_at_ms=ended.ended_at_ms,
        )
        fields["attempts"] = [*_earlier_attempts(job), ended]
        if progress is not None:
            fields["progress"] = progress
        if (origin := job.origin) is OWN_TRACE:
            fields[ORIGIN], origin = OWN, NO_ORIGIN
        return codec.dumps(fields) if origin is NO_ORIGIN else dumps_with(origin, fields)

    def _fields(
        self, job: ClaimedJob, result: Any, *, succeeded: bool, started_at_ms: int, ended_at_ms: int
    ) -> dict[str, Any]:
        """Arq's, under its own short names; the job's limits and its flow if it has some."""
        fields: dict[str, Any] = {
            "t": job.job_try,
            "f": job.function,
            "a": job.args,
            "k": job.kwargs,
            "et": job.enqueued_at_ms,
            "s": succeeded,
            "r": result,
            "st": started_at_ms,
            "ft": ended_at_ms,
            "q": self.queue,
            "id": job.claim.job_id,
        }
        if job.limits is not NO_LIMITS:
            fields |= job.limits.fields()
        if job.flow is not NO_FLOW:
            # once it has succeeded, its next step is put, and what it waited for counts no more
            fields |= (replace(job.flow, then=(), needs=None, handed={}) if succeeded else job.flow).fields()
        return fields


def _earlier_attempts(job: ClaimedJob) -> list[Any]:
    return list(codec.readable(job.claim.attempts)) if job.claim.attempts else []
