"""Runs one claimed job of a job type: an attempt, its record, and what becomes of the job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from arq.utils import timestamp_ms
from pydantic_core import PydanticSerializationError

from errand.job.context import Context, Opener
from errand.job.job_type import JobType
from errand.leases.leases import Claim, Finish, Leases
from errand.redis.outage import missed
from errand.secrets.redaction import Hide
from errand.wire import codec, records
from errand.wire.counters import Counters
from errand.wire.indexes import DeadEntry, type_word
from errand.wire.limits import NO_LIMITS
from errand.wire.records import Attempt, Error, JobFailed, Progress, RunningAttempt
from errand.worker import attempt
from errand.worker.arq_runner import ReadJob
from errand.worker.attempt import Outcome
from errand.worker.attempt_log import AttemptLog
from errand.worker.effects import Effects

log = structlog.get_logger("errand.worker")


RECORD_LIMIT_BYTES = 16 * 1024 * 1024
"""Larger results belong into storage; Redis cuts the connection over 512 MB, which would look like its absence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeTtl:
    """How long an ended job is kept, in seconds: `dead_s` where it failed, `ended_s` otherwise."""

    ended_s: float
    dead_s: float

    def of_ms(self, status: str) -> int:
        return int(1000 * (self.dead_s if status == "failed" else self.ended_s))


@dataclass(slots=True, kw_only=True)
class JobRunner:
    """How one worker runs the jobs of its job types."""

    leases: Leases
    queue: str
    worker: str
    resources: Mapping[Opener[Any], Any]
    ttl: OutcomeTtl
    attempt_log: AttemptLog
    counters: Counters
    max_crashes: int
    effects: Effects

    async def run(self, job_type: JobType[Any, Any], job: ReadJob, aborted: set[str]) -> Finish:
        """One attempt; `aborted` holds the ids of jobs that somebody wants to end while they run."""
        claim = job.claim
        started = RunningAttempt(
            number=job.job_try, due_at_ms=claim.due_at_ms, started_at_ms=timestamp_ms(), worker=self.worker
        )
        progress: list[Progress] = []
        kwargs = _keywords(job.args, job.kwargs)
        hide = job_type.hider(kwargs)
        ctx = self._context(job_type, job, progress, hide)
        try:
            outcome = await attempt.run(job_type, ctx, kwargs, hide=hide)
        except asyncio.CancelledError:
            if claim.job_id not in aborted:
                return self._hand_back(job_type, claim, started)
            aborted.discard(claim.job_id)
            outcome = Outcome("cancelled", error=Error("Cancel", "aborted while it ran"))
        ended = outcome.end_of(started, ended_at_ms=timestamp_ms())
        if ended.outcome in ("retry", "crashed"):
            return self._again(job_type, claim, ended, status="deferred")
        return self._end(job_type, job, ended, outcome.result, progress)

    def unstarted(self, job: ReadJob, error: Error, *, cancelled: bool = False) -> Finish:
        """The end of a job without a further attempt: unknown, unreadable, aborted, or out of tries."""
        status = "cancelled" if cancelled else "failed"
        now_ms = timestamp_ms()
        record = self._record(
            job, status, JobFailed(error, cancelled=cancelled), started_at_ms=now_ms, ended_at_ms=now_ms, ended=None
        )
        return self._ending(job, status, record, error, ended_at_ms=now_ms)

    def _context(self, job_type: JobType[Any, Any], job: ReadJob, progress: list[Progress], hide: Hide) -> Context:
        return Context(
            job_id=job.claim.job_id,
            attempt=job.job_try,
            max_tries=job.limits.max_tries or job_type.max_tries,
            crashes=job.claim.crashes,
            max_crashes=self.max_crashes,
            enqueued_at=datetime.fromtimestamp(job.enqueued_at_ms / 1000, UTC),
            resources=self.resources,
            report=partial(self._report, job.claim, progress, hide),
            effect=partial(self.effects.once, job.claim),
        )

    async def _report(self, claim: Claim, progress: list[Progress], hide: Hide, fraction: float, note: str) -> None:
        """Shows a job's progress; missed while Redis is away: it is news, not an outcome."""
        progress[:] = [Progress(fraction=fraction, note=records.clean(hide(note)[:200]), at_ms=timestamp_ms())]
        with missed():
            await self.leases.show_progress(claim, codec.dumps(progress[0]), keep_ms=int(self.ttl.dead_s * 1000))

    def _hand_back(self, job_type: JobType[Any, Any], claim: Claim, started: RunningAttempt) -> Finish:
        """A drain ends the attempt; it does not count as a try."""
        now_ms = timestamp_ms()
        ended = Attempt.end(started, "handed_back", at_ms=now_ms, next_attempt_at_ms=now_ms)
        return self._again(job_type, claim, ended, status="queued")

    def _again(self, job_type: JobType[Any, Any], claim: Claim, ended: Attempt, *, status: str) -> Finish:
        self._note(job_type, claim, ended)
        return Finish(
            job_id=claim.job_id,
            token=claim.token,
            status=status,
            due_in_ms=max((ended.next_attempt_at_ms or 0) - ended.ended_at_ms, 0),
            attempt=codec.dumps(ended),
            give_try_back=ended.outcome == "handed_back",
        )

    def _end(
        self, job_type: JobType[Any, Any], job: ReadJob, ended: Attempt, result: Any, progress: list[Progress]
    ) -> Finish:
        try:
            record = self._ended_record(job, ended, result, progress)
        except PydanticSerializationError as error:
            refused = Error("InvalidResult", f"the result has no JSON form: {error}")
            ended = Attempt.end(ended, "failed", at_ms=ended.ended_at_ms, error=refused)
            record = self._ended_record(job, ended, None, progress)
        if len(record) > RECORD_LIMIT_BYTES:
            refused = Error(
                "InvalidResult", f"the record has {len(record)} bytes, over the limit of {RECORD_LIMIT_BYTES}"
            )
            ended = Attempt.end(ended, "failed", at_ms=ended.ended_at_ms, error=refused)
            record = self._ended_record(job, ended, None, progress)
        self._note(job_type, job.claim, ended)
        return self._ending(job, ended.outcome, record, ended.error, ended_at_ms=ended.ended_at_ms)

    def _ended_record(self, job: ReadJob, ended: Attempt, result: Any, progress: list[Progress]) -> bytes:
        if ended.error is not None:
            result = JobFailed(ended.error, cancelled=ended.outcome == "cancelled")
        return self._record(
            job,
            ended.outcome,
            result,
            started_at_ms=ended.started_at_ms,
            ended_at_ms=ended.ended_at_ms,
            ended=ended,
            progress=progress,
        )

    def _record(
        self,
        job: ReadJob,
        status: str,
        result: Any,
        *,
        started_at_ms: int,
        ended_at_ms: int,
        ended: Attempt | None,
        progress: list[Progress] | None = None,
    ) -> bytes:
        """Arq's result record; beside its fields, which stock Arq reads, the attempts and the last progress."""
        attempts: list[Any] = list(codec.readable(job.claim.attempts)) if job.claim.attempts else []
        record: dict[str, Any] = {
            "t": job.job_try,
            "f": job.function,
            "a": job.args,
            "k": job.kwargs,
            "et": job.enqueued_at_ms,
            "s": status == "succeeded",
            "r": result,
            "st": started_at_ms,
            "ft": ended_at_ms,
            "q": self.queue,
            "id": job.claim.job_id,
            "attempts": attempts if ended is None else [*attempts, ended],
        }
        if job.limits is not NO_LIMITS:
            record |= job.limits.fields()
        if progress:
            record["progress"] = progress[0]
        return codec.dumps(record)

    def _ending(self, job: ReadJob, status: str, record: bytes, error: Error | None, *, ended_at_ms: int) -> Finish:
        claim, dead = job.claim, ""
        if status == "failed" and error is not None:
            dead = str(DeadEntry.of(claim.job_id, job.function, error, ended_at_ms=ended_at_ms))
        return Finish(
            job_id=claim.job_id,
            token=claim.token,
            status=status,
            result=record,
            keep_result_ms=self.ttl.of_ms(status),
            dead=dead,
            type=type_word(job.function),
        )

    def _note(self, job_type: JobType[Any, Any], claim: Claim, ended: Attempt) -> None:
        self.attempt_log.add(job_type.name, claim.job_id, ended)
        self.counters.count(ended)


def _keywords(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """A job's args by name. A stock producer may pass them as one positional mapping; nothing else has names."""
    match args:
        case () | []:
            return kwargs
        case [Mapping() as only] if not kwargs:
            return only
        case _:
            return {**kwargs, "positional arguments": list(args)}
