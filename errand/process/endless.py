"""Runs an event loop to the end of its main task, whatever the tasks do that jobs have started.

A SystemExit or a KeyboardInterrupt in any task stops its loop: a parser of a command line raises one, within
`asyncio.gather`. The worker would end and hand its jobs back, as for a drain, and the same job would end the next one.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger("errand.worker")


def run(runner: asyncio.Runner, main: Coroutine[Any, Any, None]) -> None:
    """Raises what `main` raises, and KeyboardInterrupt for a Ctrl-C that nobody handles.

    A SystemExit or a KeyboardInterrupt of another task is an error for who waits for that alone.
    """
    tasks: list[asyncio.Task[None]] = []

    async def noted() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await main

    try:
        runner.run(noted())
        return
    except (SystemExit, KeyboardInterrupt) as error:
        _raise_unless_of_another(tasks, error)
    while not tasks[0].done():
        try:
            runner.get_loop().run_until_complete(tasks[0])
        except (SystemExit, KeyboardInterrupt) as error:
            _raise_unless_of_another(tasks, error)


def _raise_unless_of_another(main: list[asyncio.Task[None]], error: BaseException) -> None:
    """Called for what has stopped the loop, where it is handled."""
    if not main or main[0].done() or (isinstance(error, KeyboardInterrupt) and _may_be_ctrl_c(main[0])):
        raise
    name = type(error).__name__
    log.error(f"a task that a job has started raised {name}, which is for its job to handle: the worker goes on")


def _may_be_ctrl_c(main: asyncio.Task[None]) -> bool:
    """Python raises it if nobody has said what to do at a SIGINT; asyncio if it comes once more, after `main` has been
    cancelled. A worker that runs jobs handles the signal itself."""
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler or main.cancelling() > 0
