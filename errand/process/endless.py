"""Runs an event loop to the end of its main task, whatever the tasks do that jobs have started.

A SystemExit in any task stops its loop: a parser of a command line raises one, within `asyncio.gather`. The worker
would end and hand its jobs back, as for a drain, and the same job would end the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger("errand.worker")


def run(runner: asyncio.Runner, main: Coroutine[Any, Any, None]) -> None:
    """Raises what `main` raises, a SystemExit as well; one of another task is an error for who waits for that alone."""
    tasks: list[asyncio.Task[None]] = []

    async def noted() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await main

    try:
        runner.run(noted())
        return
    except SystemExit:
        _raise_unless_of_another(tasks[0])
    while not tasks[0].done():
        try:
            runner.get_loop().run_until_complete(tasks[0])
        except SystemExit:
            _raise_unless_of_another(tasks[0])


def _raise_unless_of_another(main: asyncio.Task[None]) -> None:
    """Called for a SystemExit that has stopped the loop."""
    if main.done():
        raise  # the one that is handled where this is called
    log.error("a task that a job has started raised SystemExit, which is for its job to handle: the worker goes on")
