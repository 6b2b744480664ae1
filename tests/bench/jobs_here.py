"""The job types that are measured: they do nothing, or say when they began."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from pydantic import BaseModel

from errand.job.context import Context
from errand.job.job_type import job


class Nothing(BaseModel):
    """No args."""


class Sent(BaseModel):
    """When it was, or was to be, in seconds since the epoch."""

    at_s: float


class Seen:
    """What the jobs of this process have noted."""

    late_s: ClassVar[list[float]] = []
    ids: ClassVar[list[str]] = []
    started: ClassVar[set[str]] = set()
    cancelled_s: ClassVar[dict[str, float]] = {}


@job()
async def noop(ctx: Context, args: Nothing) -> None:
    """Does nothing."""


@job()
async def noted(ctx: Context, args: Nothing) -> None:
    """Notes that it ran."""
    Seen.ids.append(ctx.job_id)


@job()
async def timed(ctx: Context, args: Sent) -> None:
    """Notes how late it began."""
    Seen.late_s.append(time.time() - args.at_s)


@job()
async def now(ctx: Context, args: Nothing) -> float:
    """Returns when it ended, in seconds since the epoch."""
    return time.time()


@job()
async def lasting(ctx: Context, args: Nothing) -> float:
    """Takes a moment; returns when it ended, in seconds since the epoch."""
    await asyncio.sleep(0.1)
    return time.time()


@job()
async def patient(ctx: Context, args: Nothing) -> None:
    """Lasts until it is cancelled, and notes when."""
    Seen.started.add(ctx.job_id)
    try:
        await asyncio.sleep(60)
    finally:
        Seen.cancelled_s[ctx.job_id] = time.time()
