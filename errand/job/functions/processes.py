"""Runs a job in the process pool: a computation that may be killed, with a limit of memory, without secrets or network.

The process imports the module of the job and reads the args itself: no function and no model has to be picklable.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

from errand.job.context import Context, Opener
from errand.secrets import secret_args


def pool_opener() -> Opener[Any]:
    """What opens the pool. Found by its name: the room of what workers open stands above this one."""
    opener: Opener[Any] = importlib.import_module("errand.resources.openers").process_pool
    return opener


def in_process(function: Callable[..., Any], *, timeout_s: float) -> Callable[..., Awaitable[Any]]:
    """The function of the args alone as one that is awaited, in a process that is killed after `timeout_s` seconds."""

    @wraps(function)
    async def computed(ctx: Context, args: Any) -> Any:
        # the time counts from where the process starts on it
        with ctx.clock.stopped():
            return await ctx.use(pool_opener()).run(
                timeout_s, compute, function.__module__, function.__name__, secret_args.kept(args)
            )

    return computed


def compute(module: str, name: str, kept: Mapping[str, Any]) -> Any:
    """What the job's function returns; called in the process."""
    job_type = getattr(importlib.import_module(module), name)
    return job_type.function.__wrapped__(job_type.read_args(kept))
