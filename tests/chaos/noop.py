"""The job that does next to nothing, in the ways in which jobs differ: long, failing at first, failing for good."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from errand.job.context import Context, Opener
from errand.job.control import Fail, Retry
from errand.job.job_type import job
from errand.job.retry_policy import Delays, RetryPolicy
from tests.chaos.journal import journal, worker_pid


class Patient(TypedDict):
    """The options that all jobs here have, no more, so that some can have others besides."""

    max_tries: int
    timeout_s: float
    retry: RetryPolicy
    uses: Sequence[Opener[Any]]


# more tries than a run can take by kills: what ends as dead was asked to, or the engine had a reason of its own
PATIENT: Patient = {"max_tries": 30, "timeout_s": 30, "retry": Delays([0.2, 0.5, 1.0]), "uses": [journal]}


class Noop(BaseModel):
    """How to behave."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mark: str = Field(description="names the request that it came with, and its place there")
    run_s: float = 0.0
    fail_first: int = 0
    doomed: bool = False


class Done(BaseModel):
    """Which attempt did it, and in which process."""

    attempt: int
    pid: int


@job(**PATIENT)
async def noop(ctx: Context, args: Noop) -> Done:
    """Does what its args say."""
    return await carried_out(ctx, args)


async def carried_out(ctx: Context, args: Noop) -> Done:
    """Waits, then fails as its args ask, or notes that it is done."""
    notes = ctx.use(journal)
    notes.note("began", ctx.job_id, ctx.attempt)
    if args.run_s:
        await asyncio.sleep(args.run_s)
    if args.doomed:
        raise Fail("asked to fail")
    if ctx.attempt <= args.fail_first:
        raise Retry("asked to fail at first")
    notes.note("did", ctx.job_id, ctx.attempt)
    return Done(attempt=ctx.attempt, pid=worker_pid())
