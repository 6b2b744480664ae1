"""A job that is put when the attempt that asks for it has succeeded, in the same moment, and else not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from errand.job.producing.checked_args import kept_args
from errand.job.producing.enqueuing import Describes, asked_of
from errand.job.producing.options import NO_OPTIONS, JobOptions
from errand.job.when import When
from errand.tracing import current
from errand.wire import flow
from errand.wire.flow import NO_FLOW, Flow, Needs, PlannedJob, Step
from errand.wire.job_id import new_job_id
from errand.wire.origin import NO_ORIGIN, Origin

MAX_FOLLOW_UPS = 10_000
"""Of one attempt: a script call holds Redis up for everybody, and this many jobs take it some tens of milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """Such a job; its id is known before."""

    id: str
    type_name: str
    queue: str
    args: Mapping[str, Any]
    options: JobOptions = NO_OPTIONS
    flow: Flow = NO_FLOW
    """What follows it in turn, and what it waits for."""
    origin: Origin = NO_ORIGIN
    """The attempt that added it."""


def follow_up(job_type: Describes, ready: tuple[Any, ...], args: Mapping[str, Any]) -> FollowUp:
    """The job, its args checked. Raises what `enqueue` raises for them, and ValueError for a unique key."""
    options = asked_of(job_type)
    if options.unique_key is not None or options.repeats is not None:
        raise ValueError("a follow-up has no unique_key, debounce or throttle: give it a job_id, which no other has")
    kept, job_id = kept_args(job_type, ready, args), options.job_id or new_job_id()
    with current.putting(job_type.name, job_type.queue, job_id=job_id, follows=True) as origin:
        return FollowUp(
            id=job_id,
            type_name=job_type.name,
            queue=job_type.queue,
            args=kept,
            options=options,
            flow=_flow_of(options),
            origin=origin,
        )


def _flow_of(options: JobOptions) -> Flow:
    """What it waits for. Raises ValueError for a bare id: which queue that job is in is not known here."""
    if not options.depends_on:
        return NO_FLOW
    jobs = tuple((job_id, queue) for job_id, queue in options.depends_on if queue is not None)
    if len(jobs) < len(options.depends_on):
        raise ValueError("name the jobs that a follow-up waits for by what ctx.add_task or enqueue has returned")
    return Flow(needs=Needs(jobs=jobs, run_after=options.run_after))


def first_follow_ups(steps: Sequence[Step]) -> list[FollowUp]:
    """The jobs with which these steps begin; the others follow those."""
    return [planned(job, its_flow) for job, its_flow in flow.first_jobs(steps)]


def planned(job: PlannedJob, its_flow: Flow = NO_FLOW) -> FollowUp:
    """A step as a follow-up."""
    when = When(delay_ms=job.delay_ms, run_at_ms=job.run_at_ms)
    options = JobOptions(when=when, limits=job.limits, job_id=job.id)
    return FollowUp(id=job.id, type_name=job.type, queue=job.queue, args=job.args, options=options, flow=its_flow)
