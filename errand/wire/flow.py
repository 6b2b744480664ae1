"""What a job has to do with others: what follows it, what it waits for, who put it.

It travels in the job's body beside Arq's fields, which stock Arq passes over. A job that stands alone carries nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from errand.wire import keys
from errand.wire.limits import JobLimits

FLOW = "flow"


Handed = Literal["result", "results", "outcomes"]
"""What an arg of a step is given: the result of the step before; the results, or the outcomes, of a group's jobs."""


RunAfter = Literal["all_succeeded", "all_ended"]
"""When a job runs that waits for others. By the first, it ends with the first of them that ends otherwise."""


HELD_MS = 253_402_300_799_999
"""The score in its queue of a job that waits for others: the last ms of the year 9999, when none is due otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The jobs that a job waits for."""

    jobs: tuple[tuple[str, str], ...]
    """The id and the queue (its name) of each, in the order in which they were named."""
    run_after: RunAfter = "all_succeeded"
    are_children: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job that is put when its turn comes; its id is known before."""

    id: str
    type: str
    queue: str
    """Its name."""
    args: dict[str, Any] = field(default_factory=dict)
    handed: dict[str, Handed] = field(default_factory=dict)
    """Which args it is given by what came before."""
    delay_ms: int = 0
    run_at_ms: int | None = None
    max_tries: int | None = None
    expires_in_ms: int | None = None
    asked_priority: int | None = None
    """Not `priority`: by that word the scripts find the priority of the job that carries this one along."""
    undivided: bool = False
    """Its type has limits: what it is put with goes to partition 0."""

    @property
    def limits(self) -> JobLimits | None:
        if self.max_tries is None and self.expires_in_ms is None and self.asked_priority is None:
            return None
        return JobLimits(max_tries=self.max_tries, expires_in_ms=self.expires_in_ms, priority=self.asked_priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGroup:
    """Jobs that run beside each other, and the one that runs after them."""

    children: tuple[tuple[PlannedJob | PlannedGroup, ...], ...]
    """The steps of each: one, or those of a chain."""
    join: PlannedJob
    run_after: RunAfter = "all_succeeded"


Step = PlannedJob | PlannedGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """As a job's body has it."""

    then: tuple[PlannedJob | PlannedGroup, ...] = ()
    """The steps that follow its success."""
    parent: str | None = None
    """The job that put it, or that waits for it as one of its group."""
    in_group: bool = False
    """It is one of a group: so are the steps that follow it."""
    needs: Needs | None = None
    handed: dict[str, Handed] = field(default_factory=dict)
    """Which args it is given by the jobs that it waits for."""

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Flow:
        """That in the record; what makes no sense there is none, a body may be anybody's."""
        try:
            return _FLOW.validate_python(record[FLOW]) if FLOW in record else NO_FLOW
        except ValidationError:
            return NO_FLOW

    def fields(self) -> dict[str, Any]:
        """What it adds to a record."""
        kept = _FLOW.dump_python(self, exclude_defaults=True)
        return {FLOW: kept} if kept else {}

    @property
    def concerns_others(self) -> bool:
        """True if Redis notes it at once, beside the job's body."""
        return self.parent is not None or self.needs is not None

    def for_script(self, queue: str, *, delay_ms: int, run_at_ms: int | None) -> Mapping[str, Any]:
        """As scripts read it, of a job of that queue (its key), which is due so long after what it waits for."""
        needs = self.needs and {
            "queue": queue,
            "after": self.needs.run_after,
            "delay_ms": delay_ms,
            "run_at_ms": run_at_ms or False,
            "children": self.needs.are_children,
            "is_given": bool(self.handed),
            "jobs": [(job_id, keys.queue(name)) for job_id, name in self.needs.jobs],
        }
        return {"queue": queue, "parent": self.parent or False, "needs": needs or False}

    @property
    def last(self) -> PlannedJob | None:
        """The last step that follows; None if none does."""
        return last_of(self.then[-1]) if self.then else None


NO_FLOW = Flow()


_FLOW = TypeAdapter(Flow)


def may_have_flow(body: bytes) -> bool:
    """False if the body surely has none: a look at its bytes, which costs a job without next to nothing."""
    return b'"flow":' in body


def last_of(step: Step) -> PlannedJob:
    """The job with whose end the step ends."""
    return step.join if isinstance(step, PlannedGroup) else step


def first_jobs(
    steps: Sequence[Step], *, parent: str | None = None, in_group: bool = False, result: Any = None
) -> list[tuple[PlannedJob, Flow]]:
    """The jobs to put now of these steps: those of the first one, which has the others follow it.

    `result` is what the job before has returned. The jobs of a group come before the one that waits for them.
    """
    first, rest = steps[0], tuple(steps[1:])
    if isinstance(first, PlannedJob):
        return [(given(first, result=result), Flow(then=rest, parent=parent, in_group=in_group))]
    join = first.join
    lasts = [last_of(child[-1]) for child in first.children]
    needs = Needs(jobs=tuple((last.id, last.queue) for last in lasts), run_after=first.run_after, are_children=True)
    children = [
        job for child in first.children for job in first_jobs(child, parent=join.id, in_group=True, result=result)
    ]
    flow = Flow(then=rest, parent=parent, in_group=in_group, needs=needs, handed=join.handed)
    return [*children, (replace(join, handed={}), flow)]


def any_undivided(jobs: Iterable[tuple[PlannedJob, Flow]]) -> bool:
    """True if the limits of one of these jobs, or of one that follows them, count in partition 0."""
    return any(job.undivided or _any_undivided_in(its_flow.then) for job, its_flow in jobs)


def _any_undivided_in(steps: Sequence[Step]) -> bool:
    return any(
        step.undivided
        if isinstance(step, PlannedJob)
        else step.join.undivided or any(map(_any_undivided_in, step.children))
        for step in steps
    )


def given(job: PlannedJob, **values: Any) -> PlannedJob:
    """The job with these values in the args that are given them."""
    if not job.handed:
        return job
    return replace(job, args={**job.args, **filled(job.handed, values)}, handed={})


def filled(handed: Mapping[str, Handed], values: Mapping[str, Any]) -> dict[str, Any]:
    """The args that are handed on, with their values."""
    return {name: values[what] for name, what in handed.items()}
