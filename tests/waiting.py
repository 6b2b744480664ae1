"""Waits for a condition with a deadline: the one place in the tests that sleeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_EVERY_S = 0.01
NEVER_S = 120
"""So long nothing takes that happens at all, however busy the machine: no test says by this how quick a thing is."""


async def eventually(
    look: Callable[[], Awaitable[T | None]], *, timeout_s: float = NEVER_S, every_s: float = LOOK_EVERY_S
) -> T:
    """What `look` returns, as soon as that is true; TimeoutError where it never is. A costly look comes more rarely."""
    deadline_s = time.monotonic() + timeout_s
    while not (seen := await look()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{look} was not true within {timeout_s:g} s, but {seen!r}")
        await asyncio.sleep(every_s)
    return seen


def eventually_sync(look: Callable[[], T | None], *, timeout_s: float = NEVER_S) -> T:
    """The same for tests without an event loop."""
    deadline_s = time.monotonic() + timeout_s
    while not (seen := look()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{look} was not true within {timeout_s:g} s, but {seen!r}")
        time.sleep(LOOK_EVERY_S)
    return seen
