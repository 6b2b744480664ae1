"""What becomes of a job: the one place that maps how an attempt ended to what Redis keeps of the job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from errand.job.control import Snooze
from errand.leases.leases import Finish
from errand.wire import codec, keys, records
from errand.wire.flow import NO_FLOW
from errand.wire.indexes import DeadEntry, type_word
from errand.wire.records import Attempt, AttemptOutcome, Error, PutBack
from errand.worker.runners.claimed_job import ClaimedJob

REASON_LIMIT_CHARS = 200


State = Literal["queued", "deferred", "succeeded", "failed", "cancelled"]


STATE_AFTER: Mapping[AttemptOutcome, State] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
    "retry": "deferred",
    "crashed": "deferred",
    "handed_back": "queued",
}
"""How an attempt ended → the state of its job from then on. ("lost" is written by the claim that finds it.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeTtl:
    """How long an ended job is kept, in seconds: `dead_s` if it failed, else `ended_s`."""

    ended_s: float
    dead_s: float

    def of_ms(self, state: State) -> int:
        return int(1000 * (self.dead_s if state == "failed" else self.ended_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """Maps outcomes to stored states, for the jobs of job types."""

    ttl: OutcomeTtl

    def after(self, job: ClaimedJob, ended: Attempt, record: bytes | None) -> Finish:
        """The state of the job after an attempt; `record` is the job's result record if the attempt was the last."""
        state, drained = STATE_AFTER[ended.outcome], ended.outcome == "handed_back"
        if record is not None:
            return self.end(job, state, record, error=ended.error, at_ms=ended.ended_at_ms)
        wait_ms = max((ended.next_attempt_at_ms or 0) - ended.ended_at_ms, 0)
        return Finish(
            job_id=job.claim.job_id,
            token=job.claim.token,
            status=state,
            due_in_ms=job.claim.still_due_in_ms if drained else wait_ms,
            attempt=codec.dumps(ended),
            # an attempt that a drain ended does not count as a try
            give_try_back=drained,
        )

    def put_back(self, job: ClaimedJob, snoozed: Snooze, *, at_ms: int) -> Finish:
        """The job waits for its turn at something, as if it had not been started."""
        note = PutBack(code=snoozed.code, reason=records.clean(str(snoozed)[:REASON_LIMIT_CHARS]), at_ms=at_ms)
        return Finish(
            job_id=job.claim.job_id,
            token=job.claim.token,
            status="deferred",
            due_in_ms=max(int(snoozed.after_s * 1000), 1),
            put_back=codec.dumps(note),
            parked=keys.group_in_key(snoozed.waits_for) if snoozed.waits_for else "",
            give_try_back=True,
        )

    def end(self, job: ClaimedJob, state: State, record: bytes, *, error: Error | None, at_ms: int) -> Finish:
        """The job has ended at `at_ms` (ms since the epoch); if it failed, it is dead, and `error` says why."""
        claim, dead = job.claim, ""
        if state == "failed" and error is not None:
            dead = str(DeadEntry.of(claim.job_id, job.function, error, ended_at_ms=at_ms))
        return Finish(
            job_id=claim.job_id,
            token=claim.token,
            status=state,
            result=record,
            keep_result_ms=self.ttl.of_ms(state),
            dead=dead,
            flow=job.flow if job.flow is not NO_FLOW and (job.flow.then or job.flow.needs) else None,
            type=type_word(job.function),
        )
