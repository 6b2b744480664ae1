"""`chain(…)` and `group(…)`: jobs that run after and beside each other.

What belongs together is put together: a step by the call that accepts the success of the one before, and the job that
joins a group by the same call as the group's jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args

from errand.job.producing.handle import JobHandle
from errand.job.producing.options import JobOptions
from errand.job.producing.producer import CancelAnswer, JobUpdate, current
from errand.job.producing.signature import Signature
from errand.wire import flow
from errand.wire.flow import Handed, PlannedGroup, RunAfter, Step
from errand.wire.records import JobStatus

Result = TypeVar("Result")


MAX_STEPS = 1_000
"""Of one chain: each job carries the steps along that follow it."""


MAX_GROUP = 10_000
"""Jobs of one group: they are put by one script call."""


@dataclass(frozen=True, slots=True)
class Group(Generic[Result]):
    """Jobs that run beside each other, and the job that joins them. `group(…)` makes it."""

    children: tuple[Signature[Any] | Chain[Any], ...]
    join: Signature[Result]
    run_after: RunAfter

    @property
    def handed(self) -> Mapping[str, Handed]:
        """The args that its jobs get from the step before."""
        return {name: what for child in self.children for name, what in child.handed.items()}

    @property
    def options(self) -> JobOptions:
        return self.join.options

    @property
    def read(self) -> Callable[[Any], Result]:
        return self.join.read

    def planned(self) -> PlannedGroup:
        """The same group, with an id for each job."""
        children = tuple(child.planned() if isinstance(child, Chain) else (child.planned(),) for child in self.children)
        return PlannedGroup(children=children, join=self.join.planned(), run_after=self.run_after)

    async def enqueue(self) -> JobHandle[Result]:
        """Puts all jobs in one call. Returns the job that joins them. Raises what a job type's `enqueue` raises."""
        check_first(self)
        planned, producer = self.planned(), current()
        await producer.put_steps(flow.first_jobs([planned]))
        return JobHandle(producer, planned.join.id, queue=planned.join.queue, read=self.join.read)


@dataclass(frozen=True, slots=True)
class Chain(Generic[Result]):
    """Steps that run one after another. Each starts when the one before has succeeded. `chain(…)` makes it."""

    steps: tuple[Signature[Any] | Group[Any], ...]

    @property
    def handed(self) -> Mapping[str, Handed]:
        """The args that its first step gets from what comes before the chain."""
        return self.steps[0].handed

    def planned(self) -> tuple[Step, ...]:
        """The steps, with an id for each job."""
        return tuple(step.planned() for step in self.steps)

    async def enqueue(self) -> ChainHandle[Result]:
        """Puts the first step, which carries the others along. Raises what `enqueue` of a job type raises."""
        check_first(self)
        planned, producer = self.planned(), current()
        put = await producer.put_steps(flow.first_jobs(planned))
        handles: list[JobHandle[Any]] = [
            JobHandle(producer, last.id, queue=last.queue, read=step.read)
            for step, last in zip(self.steps, map(flow.last_of, planned), strict=True)
        ]
        return ChainHandle(tuple(handles), existing=put[-1].existing)


@dataclass(frozen=True, slots=True)
class ChainHandle(Generic[Result]):
    """A chain that was put. Its later steps are no jobs yet: Errand puts each when the one before has succeeded."""

    steps: tuple[JobHandle[Any], ...]
    """The last job of each step."""
    existing: bool = False
    """True if no job was put, because a job with the id of the first step was there before."""

    @property
    def id(self) -> str:
        """The id of the last step."""
        return self.steps[-1].id

    async def result(self, *, timeout_s: float | None = None) -> Result:
        """Waits for the end of the last step, `timeout_s` seconds at most, and returns what its function returned.

        Raises JobFailed if a step failed or was cancelled. Errand then puts no later step, unless you replay the failed
        one and it succeeds. Otherwise it raises what `JobHandle.result` raises.
        """
        async with asyncio.timeout(timeout_s):
            for step in self.steps:
                result: Result = await step.result()
        return result

    async def status(self) -> JobStatus:
        """Returns the status of the first step that has not succeeded, or of the last step if all have."""
        for step in self.steps:
            status = await step.status()
            if status != "succeeded":
                break
        return status

    async def events(self) -> AsyncIterator[JobUpdate]:
        """`async for event in job.events():` yields the events of each step in turn, as `JobHandle.events` does."""
        for step in self.steps:
            async for event in step.events():
                yield event
            if event.status != "succeeded":
                return

    async def cancel(self) -> CancelAnswer:
        """Cancels the first step that has not succeeded, as `JobHandle.cancel` does. Errand then puts no later step."""
        for step in self.steps:
            answer = await step.cancel()
            if answer != "ended" or await step.status() != "succeeded":
                break
        return answer


def chain(
    *steps: *tuple[*tuple[Signature[Any] | Group[Any], ...], Signature[Result] | Group[Result]],
) -> Chain[Result]:
    """Makes a chain: steps that run one after another. Each starts when the one before has succeeded.

    >>> report = await chain(gather.s(day=day), render.s(sales=PREVIOUS), mail.s(page=PREVIOUS)).enqueue()

    The arg that is `PREVIOUS` gets the result of the step before. The worker puts a step in the same call in which it
    writes the success of the step before. So no step is lost, put twice, or run too early. A step that fails ends the
    chain. If you replay that step and it succeeds, the chain goes on. A step may be a group. In a job,
    `ctx.add_task(chain(…))` has the chain follow that job.

    Raises ValueError for a chain without steps, for more than 1,000 steps, and for a later step with a job_id.
    """
    if not 0 < len(steps) <= MAX_STEPS:
        raise ValueError(f"a chain has 1 to {MAX_STEPS} steps")
    if any(number and step.options.job_id for number, step in enumerate(steps)):
        raise ValueError("the later steps of a chain have no job_id: one that exists would end it there")
    if any(what != "result" for step in steps for what in step.handed.values()):
        raise ValueError("RESULTS and OUTCOMES are for the job that joins a group; a step is given PREVIOUS")
    return Chain(steps)


def group(
    *jobs: Signature[Any] | Chain[Any], then: Signature[Result], run_after: RunAfter = "all_succeeded"
) -> Group[Result]:
    """Makes a group: up to 10,000 jobs that run beside each other, and one job, `then`, that joins them at the end.

    >>> album = await group(*(resize.s(photo=photo) for photo in photos), then=publish.s(photos=RESULTS)).enqueue()

    The job that joins them waits in its queue from the start, and takes no slot. It is the parent of the others: if you
    cancel it, you cancel them. Its arg that is `RESULTS` gets what they returned, and `OUTCOMES` how they ended. If one
    of them fails, the joining job fails too, with the reason. With `run_after="all_ended"` it runs in any case. Each of
    the jobs may be a chain.

    Raises ValueError for a group without jobs, for more than 10,000 jobs, for a job with a job_id, and for another
    `run_after`.
    """
    if not 0 < len(jobs) <= MAX_GROUP:
        raise ValueError(f"a group has 1 to {MAX_GROUP} jobs")
    if run_after not in get_args(RunAfter):
        raise ValueError(f"run_after is one of {', '.join(get_args(RunAfter))}")
    first = [job.steps[0] if isinstance(job, Chain) else job for job in jobs]
    if any(step.options.job_id for step in (*first, then)):
        raise ValueError("the jobs of a group have no job_id: one that exists would never be waited for")
    if "result" in then.handed.values():
        raise ValueError("the job that joins a group is given RESULTS or OUTCOMES, not PREVIOUS")
    return Group(jobs, then, run_after)


def check_first(step: Signature[Any] | Group[Any] | Chain[Any]) -> None:
    """Raises ValueError if a step with which everything begins is to be given a result."""
    if step.handed:
        raise ValueError("nothing comes before the first step: it cannot be given PREVIOUS")
