"""What a job function is given besides its args: the job's id, the attempt, resources, progress, effects."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, overload

from pydantic import BaseModel

from errand.job.clock import Clock
from errand.job.control import MAX_CRASHES
from errand.job.once import Once, nowhere
from errand.job.producing.enqueuing import TakesArgs
from errand.job.producing.follow_up import MAX_FOLLOW_UPS, FollowUp, first_follow_ups, follow_up, planned
from errand.job.producing.steps import Chain, Group, check_first
from errand.wire.flow import last_of

Resource = TypeVar("Resource")


Result = TypeVar("Result")


Args = TypeVar("Args", bound=BaseModel)


P = ParamSpec("P")


Opener = Callable[[Any], AbstractAsyncContextManager[Resource]]
"""A function that takes the settings and opens something costly, once in each worker process: a session, a pool.

A job type names it in `@job(uses=[opener])`. The job function gets what the opener yields from `ctx.use(opener)`.
"""


def _not_counted(counter: str) -> None:
    """Outside of a worker nothing is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a job function gets besides its args: the job's id, the attempt, resources, progress, follow-up jobs.

    The worker makes it. To test a job function by itself, make one in your test.
    """

    job_id: str
    attempt: int
    """The number of this attempt; the first is 1."""
    max_tries: int
    enqueued_at: datetime
    """When Errand accepted the job, UTC; the same on every attempt."""
    due_at_ms: int = 0
    """When this attempt was due, in ms since the epoch, by Redis' clock; 0 outside of a worker."""
    crashes: int = 0
    """How many earlier attempts of the job certainly ended their process."""
    max_crashes: int = MAX_CRASHES
    """How many attempts may end their process before the worker gives the job up."""
    resources: Mapping[Opener[Any], Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    """The attempt's time limit. `with ctx.clock.stopped():` stops it while the job waits for something shared."""
    loop: asyncio.AbstractEventLoop | None = None
    """The worker's event loop, for a job in a thread."""
    follow_ups: list[FollowUp] = field(default_factory=list)
    """The jobs to put if this attempt succeeds."""
    count: Callable[[str], None] = _not_counted
    """Adds 1 to a counter of the worker, such as `letters:sent`: `/metrics` shows those that it knows."""
    report: Callable[[float, str], Awaitable[None]] | None = None
    effect: Callable[[str], Awaitable[Once]] | None = None

    def use(self, opener: Opener[Resource]) -> Resource:
        """Returns what `opener` has opened for this worker process.

        Raises LookupError if the job type does not name the opener: `@job(uses=[opener])`.
        """
        try:
            return typing.cast(Resource, self.resources[opener])
        except KeyError:
            raise LookupError(f"declare it first: @job(uses=[{opener.__name__}])") from None

    @overload
    def add_task(self, job_type: Chain[Any] | Group[Any], /) -> FollowUp: ...

    @overload
    def add_task(self, job_type: TakesArgs[Any, Args, Any], args: Args, /) -> FollowUp: ...

    @overload
    def add_task(self, job_type: TakesArgs[P, Any, Any], /, *ready: P.args, **args: P.kwargs) -> FollowUp: ...

    def add_task(self, job_type: Any, /, *ready: Any, **args: Any) -> FollowUp:
        """Adds a job that follows this one. Give its args by name or as its model, and its options as with `enqueue`.

        >>> ctx.add_task(send_parcel.options(delay="1h"), order=args.order)

        The worker puts the follow-up in the same call in which it writes this attempt's success. So Errand loses no
        follow-up and puts none twice. An attempt that fails, is repeated or has lost its lease puts none. You have
        the follow-up's id at once. `ctx.add_task(chain(…))` adds a chain or a group, and returns its last job.

        Raises InvalidArgs or TypeError for args that do not fit, ValueError for a unique_key and for more than 10,000
        follow-ups.
        """
        if isinstance(job_type, Chain | Group):
            return self._add_steps(job_type)
        self._check_room(1)
        added = follow_up(job_type, ready, args)
        self.follow_ups.append(added)
        return added

    def _add_steps(self, steps: Chain[Any] | Group[Any]) -> FollowUp:
        check_first(steps)
        planned_steps = steps.planned() if isinstance(steps, Chain) else (steps.planned(),)
        first = first_follow_ups(planned_steps)
        # without the job that joins a group
        self._check_room(sum(job.flow.needs is None for job in first))
        self.follow_ups.extend(first)
        return planned(last_of(planned_steps[-1]))

    def _check_room(self, jobs: int) -> None:
        if len(self.follow_ups) + jobs > MAX_FOLLOW_UPS:
            raise ValueError(f"an attempt puts up to {MAX_FOLLOW_UPS} follow-up jobs")

    def wait(self, call: Coroutine[Any, Any, Result]) -> Result:
        """Makes an async call from a `def` job, which runs in a thread. Returns or raises what the call does.

        >>> ctx.wait(ctx.progress(0.5))

        Raises RuntimeError in an `async def` job: use `await` there.
        """
        if self.loop is None or self.loop is asyncio._get_running_loop():
            call.close()
            raise RuntimeError("ctx.wait(…) is for a job in a thread; use `await` here")
        return asyncio.run_coroutine_threadsafe(call, self.loop).result()

    async def once(self, name: str) -> Once:
        """Says how far an effect of this job has come in all its attempts: not started, started, or done.

        Call `start()` right before the effect and `finish()` right after it. If an earlier attempt started the effect
        and died, nobody knows whether the effect happened, and your job decides what to do.

        >>> charge = await ctx.once("charge")
        >>> if not charge.done:
        ...     if charge.started:
        ...         raise Fail("the card may have been charged already")
        ...     await charge.start()
        ...     receipt = await charge_card(args)
        ...     await charge.finish(receipt)
        """
        if self.effect is None:
            return Once(name, kept={}, write=nowhere)
        return await self.effect(name)

    async def progress(self, fraction: float, note: str = "") -> None:
        """Shows how far the job is: a fraction from 0 to 1, and a note. Errand keeps 200 characters of the note."""
        if self.report is not None:
            await self.report(min(max(fraction, 0.0), 1.0), note)
