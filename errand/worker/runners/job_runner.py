"""Runs the jobs of job types: makes an attempt, records it, and decides what becomes of the job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from arq.utils import timestamp_ms
from arq.worker import Function, Worker, func

from errand.job.context import Context, Opener
from errand.job.control import Crashed, Snooze
from errand.job.hooks import AttemptHook
from errand.job.job_type import JobType
from errand.leases.finisher import Finisher
from errand.leases.leases import Claim, Finish, Leases
from errand.redis.outage import missed
from errand.secrets.redaction import Hide
from errand.tracing import current
from errand.wire import codec, keys, records
from errand.wire.counters import Counters
from errand.wire.origin import NO_ORIGIN
from errand.wire.records import Attempt, Error, JobFailed, Progress, RunningAttempt
from errand.worker.hooks.around import AroundAttempt
from errand.worker.hooks.dead import DeadHooks
from errand.worker.isolation import Attempted, IsolatedDied, Isolation
from errand.worker.runners import attempt, follow_ups
from errand.worker.runners.attempt import Outcome
from errand.worker.runners.attempt_log import AttemptLog
from errand.worker.runners.claimed_job import ClaimedJob
from errand.worker.runners.effects import Effects
from errand.worker.runners.result_records import ResultRecords
from errand.worker.runners.runner import refusal_by_arq
from errand.worker.runners.traced import is_found, traced
from errand.worker.runners.transitions import Transitions
from errand.worker.runners.under_way import IN_ATTEMPT, UnderWay

NOTE_LIMIT_CHARS = 200
"""Of the note of a progress report; the rest is cut."""


@dataclass(slots=True, kw_only=True)
class JobRunner:
    """The `Runner` of a worker's job types."""

    worker: Worker
    worker_name: str
    job_types: Mapping[str, JobType[Any, Any]]
    resources: Mapping[Opener[Any], Any]
    leases: Leases
    finisher: Finisher
    effects: Effects
    records: ResultRecords
    transitions: Transitions
    attempt_log: AttemptLog
    counters: Counters
    max_crashes: int
    isolation: Isolation | None
    """If there is none, suspects run in this process."""
    attempt_hooks: Mapping[str, Sequence[AttemptHook]]
    """For the types that have some, in the order in which they are entered."""
    dead_hooks: DeadHooks
    under_way: dict[int, UnderWay] = field(default_factory=dict)
    """The attempts that run, by the id of the object; the watchdog's thread reads it."""
    early: set[int] = field(default_factory=set)
    """The ids of the `Finish` objects that the watchdog has written, or writes, before their functions return."""

    def refusal(self, job: ClaimedJob) -> BaseException | None:
        if job.function in self.job_types and job.claim.crashes >= self.max_crashes:
            return Crashed(job.claim.crashes)
        return refusal_by_arq(self.worker, job)

    def unstarted(self, job: ClaimedJob, error: BaseException) -> Finish:
        """The end of a job without another attempt: unknown, unreadable, aborted, or out of tries.

        One that is to wait once more is put back.
        """
        cancelled, now_ms = isinstance(error, asyncio.CancelledError), timestamp_ms()
        if isinstance(error, Snooze):
            return self.transitions.put_back(job, error, at_ms=now_ms)
        reason = (
            Error("Cancel", str(error) or "aborted before it started")
            if cancelled
            else Error.of(error, with_traceback=False)
        )
        record = self.records.unstarted(job, JobFailed(reason, cancelled=cancelled), at_ms=now_ms)
        return self.transitions.end(job, "cancelled" if cancelled else "failed", record, error=reason, at_ms=now_ms)

    async def run(self, job: ClaimedJob) -> Finish:
        """Makes one attempt, decides how it counts, and maps that to the job's next state."""
        under_way = self._started(job)
        self.under_way[id(under_way)] = under_way
        entered = IN_ATTEMPT.set(under_way)
        try:
            outcome, progress = await self._attempt(under_way)
        finally:
            # the task's context would hold what holds the task: garbage for the collector, a fifth of a job's CPU time
            IN_ATTEMPT.reset(entered)
            still_open = self.under_way.pop(id(under_way), None) is not None
        if not still_open and under_way.ended_early is not None:
            return under_way.ended_early
        if outcome.snoozed is not None:
            return self.transitions.put_back(job, outcome.snoozed, at_ms=timestamp_ms())
        return self._end(under_way, outcome, progress)

    def end_overtime(self, under_way: UnderWay) -> Finish | None:
        """The end of an attempt that blocks the loop past its limit, for the watchdog; None if it just ended."""
        error = attempt.overtime(under_way.job_type)
        outcome = attempt.after_error(under_way.job_type, under_way.ctx, error, under_way.hide)
        ended, finish = self._decide(under_way, outcome, None)
        under_way.ended_early = finish
        self.early.add(id(finish))
        # one of the two threads gets it out of the dict and has the say
        if self.under_way.pop(id(under_way), None) is None:
            self.early.discard(id(finish))
            return None
        self._note(under_way.job, ended)
        return finish

    def _started(self, job: ClaimedJob) -> UnderWay:
        job_type, kwargs = self.job_types[job.function], job.named_args
        if job.given:
            kwargs = {**kwargs, **job.given}
        hide = job_type.hider(kwargs)
        reported: list[Progress] = []
        started = RunningAttempt(
            number=job.job_try, due_at_ms=job.claim.due_at_ms, started_at_ms=timestamp_ms(), worker=self.worker_name
        )
        return UnderWay(job, job_type, kwargs, self._context(job_type, job, reported, hide), hide, started, reported)

    def _end(self, under_way: UnderWay, outcome: Outcome, progress: Progress | None) -> Finish:
        ended, finish = self._decide(under_way, outcome, progress)
        self._note(under_way.job, ended)
        return finish

    def _decide(self, under_way: UnderWay, outcome: Outcome, progress: Progress | None) -> tuple[Attempt, Finish]:
        job = under_way.job
        ended = outcome.end_of(under_way.started, ended_at_ms=timestamp_ms(), blocked=under_way.blocked)
        ended, record = self.records.settle(job, ended, outcome.result, progress)
        finish = self.transitions.after(job, ended, record)
        if (outcome.follow_ups or job.flow.then) and ended.outcome == "succeeded":
            finish.follow_ups = follow_ups.rows_of(job, outcome)
        return ended, finish

    async def finish(self, job: ClaimedJob, outcome: Finish) -> None:
        """Returns at once: the slot is free for the next job while outcomes are written together."""
        if outcome.dead:
            self.dead_hooks.expect(job, outcome)
        if self.early and id(outcome) in self.early:
            self.early.discard(id(outcome))
            self.finisher.note_written(outcome)
        else:
            self.finisher.put(outcome)

    async def attempt(self, job: ClaimedJob) -> Attempted:
        """One attempt for another process, which counts and writes what becomes of it."""
        under_way = self._started(job)
        IN_ATTEMPT.set(under_way)
        outcome, progress = await self._attempt(under_way)
        return outcome, progress, self.counters.take()

    async def _attempt(self, under_way: UnderWay) -> tuple[Outcome, Progress | None]:
        job, job_type, ctx = under_way.job, under_way.job_type, under_way.ctx
        around = self._around(under_way) if self.attempt_hooks else None
        try:
            if self.isolation is not None and job.claim.suspect:
                return await self._isolated(self.isolation, job_type, ctx, job)
            call = job_type.function if around is None else around.call
            made = attempt.run(job_type, ctx, under_way.kwargs, hide=under_way.hide, call=call)
            if (job.origin is not NO_ORIGIN or current.is_on()) and not is_found(job):
                made = traced(job, made, queue_key=self.worker.queue_name)
            outcome = await made
        except asyncio.CancelledError:
            outcome = self._interrupted(job.claim.job_id)
        if around is not None:
            await around.end(outcome)
        return outcome, under_way.reported[0] if under_way.reported else None

    async def _isolated(
        self, isolation: Isolation, job_type: JobType[Any, Any], ctx: Context, job: ClaimedJob
    ) -> tuple[Outcome, Progress | None]:
        """The attempt, made in a process of its own; if the job ends that one, this is proof and takes none along."""

        async def note_start() -> None:
            # missed while Redis is away: a worker lost then proves nothing
            with missed():
                await self.leases.note_isolated(job.claim)

        try:
            asked, limit_s = (job.claim, job.given), job_type.timeout_s
            made = await isolation.attempt(self.worker.queue_name, asked, starts=note_start, limit_s=limit_s)
            outcome, progress, counts = made
            self.counters.put_back(counts)
            return outcome, progress
        except TimeoutError:
            return attempt.after_error(job_type, ctx, attempt.overtime(job_type)), None
        except IsolatedDied as error:
            return attempt.after_error(job_type, ctx, error), None
        except Snooze as error:
            return Outcome("handed_back", snoozed=error), None
        finally:
            with missed():
                await self.leases.end_isolated(job.claim)

    def _around(self, under_way: UnderWay) -> AroundAttempt | None:
        hooks = self.attempt_hooks.get(under_way.job_type.name)
        if hooks is None:
            return None
        return AroundAttempt(
            hooks=hooks,
            function=under_way.job_type.function,
            type=under_way.job_type.name,
            queue=keys.queue_name(self.worker.queue_name),
            due_at_ms=under_way.started.due_at_ms,
        )

    def _interrupted(self, job_id: str) -> Outcome:
        if job_id not in self.worker.aborting_tasks:
            return Outcome("handed_back")
        self.worker.aborting_tasks.discard(job_id)
        return Outcome("cancelled", error=Error("Cancel", "aborted while it ran"))

    def _context(self, job_type: JobType[Any, Any], job: ClaimedJob, reported: list[Progress], hide: Hide) -> Context:
        return Context(
            job_id=job.claim.job_id,
            attempt=job.job_try,
            max_tries=job.limits.max_tries or job_type.max_tries,
            crashes=job.claim.crashes,
            max_crashes=self.max_crashes,
            enqueued_at=datetime.fromtimestamp(job.enqueued_at_ms / 1000, UTC),
            due_at_ms=job.claim.due_at_ms,
            resources=self.resources,
            count=self.counters.add,
            report=partial(self._report, job.claim, reported, hide),
            effect=partial(self.effects.once, job.claim),
        )

    async def _report(self, claim: Claim, reported: list[Progress], hide: Hide, fraction: float, note: str) -> None:
        """Shows a job's progress. Missed while Redis is away: it is news, not an outcome."""
        note = records.clean(hide(note)[:NOTE_LIMIT_CHARS])
        reported[:] = [Progress(fraction=fraction, note=note, at_ms=timestamp_ms())]
        keep_ms = self.transitions.ttl.of_ms("failed")
        with missed():
            await self.leases.show_progress(claim, codec.dumps(reported[0]), keep_ms=keep_ms)

    def _note(self, job: ClaimedJob, ended: Attempt) -> None:
        self.attempt_log.add(
            job.function, job.claim.job_id, ended, trace_id=job.trace_id, request_id=job.origin.request_id
        )
        self.counters.count(ended, enqueued_at_ms=job.enqueued_at_ms)


def as_arq_function(job_type: JobType[Any, Any]) -> Function:
    """How Arq knows a job type: by its name, its number of tries and its timeout."""

    async def never_called(ctx: dict[str, Any]) -> None:
        raise AssertionError("JobRunner runs job types")

    return func(never_called, name=job_type.name, max_tries=job_type.max_tries, timeout=job_type.timeout_s)
