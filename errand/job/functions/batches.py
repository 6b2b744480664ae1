"""Runs one function for many jobs at once: `@job(batch=100)` is given the args of up to so many that wait for it.

Each job keeps its own attempt, with its own end: the function may return, or raise, one outcome for all of them, or
return a list with one for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from errand.job.context import Context

MAX_BATCH = 1_000
"""Each job of a batch takes a slot of its worker, which has a hundred unless it is given more."""


@dataclass(frozen=True, slots=True)
class Item:
    """A job that waits for its batch, or is in it."""

    ctx: Context
    args: Any
    outcome: asyncio.Future[Any]


@dataclass(slots=True)
class Gathering:
    """Jobs that run together; open until it is full or the wait for more is over."""

    most: int
    items: list[Item] = field(default_factory=list)
    full: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Task[None] | None = None

    def add(self, ctx: Context, args: Any) -> Item:
        item = Item(ctx, args, asyncio.get_running_loop().create_future())
        self.items.append(item)
        if len(self.items) == self.most:
            self.full.set()
        return item

    def leave(self, item: Item) -> None:
        """That attempt was given up; the function goes on while another one waits for it."""
        item.outcome.cancel()
        if self.running is not None and not self.live:
            # nobody joins it any more
            self.full.set()
            self.running.cancel()

    @property
    def live(self) -> list[Item]:
        """The items whose attempts still wait for an outcome."""
        return [item for item in self.items if not item.outcome.done()]


def in_batches(function: Callable[..., Any], *, most: int, wait_s: float) -> Callable[..., Awaitable[Any]]:
    """The function of a list as one of a single job, which waits up to `wait_s` seconds for others to join it."""
    open_: dict[asyncio.AbstractEventLoop, Gathering] = {}

    async def run(batch: Gathering) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(batch.full.wait(), wait_s)
        # nobody joins it any more
        batch.full.set()
        batch.started.set()
        await _call(function, batch.live)

    @wraps(function)
    async def joined(ctx: Context, args: Any) -> Any:
        loop = asyncio.get_running_loop()
        batch = open_.get(loop)
        if batch is None or batch.full.is_set():
            for ended in [known for known in open_ if known.is_closed()]:
                del open_[ended]
            open_[loop] = batch = Gathering(most)
            batch.running = asyncio.create_task(run(batch))
        item = batch.add(ctx, args)
        try:
            with ctx.clock.stopped():
                await batch.started.wait()
            return await item.outcome
        finally:
            batch.leave(item)

    return joined


async def _call(function: Callable[..., Any], items: Sequence[Item]) -> None:
    """Gives each item its outcome."""
    try:
        returned = await function([item.ctx for item in items], [item.args for item in items])
        outcomes = _outcomes(returned, len(items))
    except BaseException as error:  # noqa: BLE001  # the outcome of each of the attempts
        outcomes = [error] * len(items)
    for item, outcome in zip(items, outcomes, strict=True):
        if item.outcome.done():
            continue
        if isinstance(outcome, asyncio.CancelledError):
            item.outcome.cancel()
        elif isinstance(outcome, StopIteration):  # no future takes it
            item.outcome.set_exception(RuntimeError(f"the outcome of the job is {outcome!r}"))
        elif isinstance(outcome, BaseException):
            item.outcome.set_exception(outcome)
        else:
            item.outcome.set_result(outcome)


def _outcomes(returned: Any, number: int) -> Sequence[Any]:
    """One for each job. Raises ValueError for a list that has not one for each."""
    if returned is None:
        return [None] * number
    if not isinstance(returned, list) or len(returned) != number:
        raise ValueError(f"a batch of {number} returns None or a list of {number} results or exceptions, in order")
    return returned
