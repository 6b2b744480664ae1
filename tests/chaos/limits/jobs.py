"""Jobs whose starts are controlled: limited, gathered in batches, debounced, throttled."""

from __future__ import annotations

from pydantic import BaseModel

from errand import Concurrency
from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.job.job_type import job
from tests.chaos.journal import journal
from tests.chaos.noop import PATIENT, Done, Noop, carried_out

ALL_AT_ONCE, OF_ONE_AT_ONCE = 8, 2
STARTS, WITHIN_S = 20, 10
QUIET_S, PERIOD_S = 1.0, 2.0
BATCH = 20


class Order(Noop):
    """Whose it is, and how to behave."""

    customer: str


class Change(BaseModel):
    """The number of those to one topic."""

    mark: str
    topic: str
    number: int


@job(**PATIENT, limits=[Concurrency(ALL_AT_ONCE), Concurrency(OF_ONE_AT_ONCE, key="{customer}")])
async def keyed(ctx: Context, args: Order) -> Done:
    """Notes when it is left, too, however that comes, so that it is known how many run at once."""
    try:
        return await carried_out(ctx, args)
    finally:
        ctx.use(journal).note("left", ctx.job_id, ctx.attempt)


@job(**PATIENT, rate=f"{STARTS}/{WITHIN_S}s", rate_key="{customer}")
async def paced(ctx: Context, args: Order) -> Done:
    """One of so many of a customer that start within that time."""
    return await carried_out(ctx, args)


@job(**PATIENT, batch=BATCH, batch_wait_s=0.2)
async def gathered(ctxs: list[Context], many: list[Noop]) -> list[int | Fail | Retry]:
    """Returns how many there were in its batch."""
    return [_of_batch(ctx, args, len(many)) for ctx, args in zip(ctxs, many, strict=True)]


def _of_batch(ctx: Context, args: Noop, size: int) -> int | Fail | Retry:
    notes = ctx.use(journal)
    notes.note("began", ctx.job_id, ctx.attempt)
    if args.doomed:
        return Fail("asked to fail")
    if ctx.attempt <= args.fail_first:
        return Retry("asked to fail at first")
    notes.note("did", ctx.job_id, ctx.attempt)
    return size


@job(**PATIENT, debounce=QUIET_S, debounce_key="{topic}")
async def settled(ctx: Context, args: Change) -> int:
    """Runs when its topic has been quiet for a while; returns the number of the change that it knows of."""
    return _noted(ctx, args)


@job(**PATIENT, throttle=PERIOD_S, throttle_key="{topic}")
async def alert(ctx: Context, args: Change) -> int:
    """Runs once within a period for each topic."""
    return _noted(ctx, args)


def _noted(ctx: Context, args: Change) -> int:
    ctx.use(journal).note("began", ctx.job_id, ctx.attempt)
    ctx.use(journal).note("did", ctx.job_id, ctx.attempt)
    return args.number
