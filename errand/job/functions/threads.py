"""Runs a `def` job in a thread, so that it may block: a database driver, a client without asyncio, a file.

Nobody can stop a thread. A cancel or a timeout frees the job's slot, and the log says that the thread goes on; its turn
among the threads comes free when it ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import structlog

from errand.job.context import Context

log = structlog.get_logger("errand.worker")


MAX_THREADS = 40
"""Of one event loop, as many as anyio has: each takes memory for its stack, and most wait."""


_TURNS: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


def in_thread(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function as one that is awaited. It finds the context variables of its attempt."""

    @wraps(function)
    async def threaded(ctx: Context, args: Any, **given: Any) -> Any:
        turns = _turns_of(asyncio.get_running_loop())
        # the attempt has not started while others take all threads
        with ctx.clock.stopped():
            await turns.acquire()
        in_there = replace(ctx, loop=asyncio.get_running_loop())
        return await _run(turns, ctx, lambda: function(in_there, args, **given))

    return threaded


def _turns_of(loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
    for ended in [known for known in _TURNS if known.is_closed()]:
        del _TURNS[ended]
    return _TURNS.setdefault(loop, asyncio.Semaphore(MAX_THREADS))


async def _run(turns: asyncio.Semaphore, ctx: Context, call: Callable[[], Any]) -> Any:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def end(value: Any, error: BaseException | None) -> None:
        turns.release()
        if answer.done():
            log.info("the thread of a job that was given up has ended", job_id=ctx.job_id)
        elif error is None:
            answer.set_result(value)
        else:
            answer.set_exception(error)

    def work() -> None:
        value, error = None, None
        try:
            value = context.run(call)
        except BaseException as raised:  # noqa: BLE001  # an outcome of the attempt, as in the loop
            # asyncio takes no StopIteration for a future
            error = RuntimeError(f"the job raised {raised!r}") if isinstance(raised, StopIteration) else raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(end, value, error)

    # a daemon: a thread that hangs must not keep the process from its end
    try:
        threading.Thread(target=work, name=f"job {ctx.job_id}", daemon=True).start()
    except RuntimeError:  # the system has no room for one: without its turn none would be left in the end
        turns.release()
        raise
    try:
        return await answer
    except asyncio.CancelledError:
        log.warning("a job is given up, and its thread goes on: nobody can stop it", job_id=ctx.job_id)
        raise
