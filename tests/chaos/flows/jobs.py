"""A job that has a chain follow: a group of which one is a chain, the job that joins it, and one step more."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, ConfigDict

from errand import OUTCOMES, PREVIOUS, chain, group
from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.job.job_type import job
from tests.chaos.journal import journal
from tests.chaos.noop import PATIENT

BESIDE = tuple(f"b{number}" for number in range(1, 6))
BEFORE = {
    "a1": (),
    "a2": ("a1",),
    **dict.fromkeys(BESIDE, ()),
    "c": (),
    "join": ("a2", *BESIDE, "c"),
    "end": ("join",),
}
"""Every step that follows a root, and the steps that it follows itself."""
FAILS = "c"
"""The step that fails if its root is doomed; the join runs all the same."""

JOINS_AT_ONCE = 10
"""What waits for others may have to wait for a limit as well."""


class Root(BaseModel):
    """How its steps are to behave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mark: str
    run_s: float = 0.0
    fail_first: int = 0
    doomed: bool = False


class Step(Root):
    """One of them."""

    path: str
    number: int = 0


class Late(BaseModel):
    """Which roots it waits for."""

    mark: str
    after: list[str]


class Join(BaseModel):
    """What the group has come to."""

    mark: str
    path: str
    outcomes: list[dict[str, Any]]


@job(**PATIENT)
async def root(ctx: Context, args: Root) -> None:
    """Has all steps follow."""
    ctx.use(journal).note("began", ctx.job_id, ctx.attempt)
    how = args.model_dump(exclude={"doomed"})
    parts = group(
        chain(step.s(**how, path="a1", number=1), step.s(**how, path="a2", number=PREVIOUS)),
        *(step.s(**how, path=path, number=2) for path in BESIDE),
        step.s(**how, path="c", number=3, doomed=args.doomed),
        then=join.s(mark=args.mark, path="join", outcomes=OUTCOMES),
        run_after="all_ended",
    )
    ctx.add_task(chain(parts, step.s(**how, path="end", number=PREVIOUS)))
    await asyncio.sleep(args.run_s)
    ctx.use(journal).note("did", ctx.job_id, ctx.attempt)


@job(**PATIENT)
async def step(ctx: Context, args: Step) -> int:
    """Waits, then fails as its args ask, or returns its number."""
    ctx.use(journal).note("began", ctx.job_id, ctx.attempt)
    await asyncio.sleep(args.run_s)
    if args.doomed:
        raise Fail("asked to fail")
    if ctx.attempt <= args.fail_first:
        raise Retry("asked to fail at first")
    ctx.use(journal).note("did", ctx.job_id, ctx.attempt)
    return args.number


@job(**PATIENT)
async def late(ctx: Context, args: Late) -> None:
    """Runs when its roots have succeeded."""
    ctx.use(journal).note("began", ctx.job_id, ctx.attempt)
    ctx.use(journal).note("did", ctx.job_id, ctx.attempt)


@job(**PATIENT, concurrency=JOINS_AT_ONCE)
async def join(ctx: Context, args: Join) -> int:
    """Adds what the group has returned."""
    ctx.use(journal).note("began", ctx.job_id, ctx.attempt)
    ctx.use(journal).note("did", ctx.job_id, ctx.attempt)
    return sum(outcome["result"] or 0 for outcome in args.outcomes)
