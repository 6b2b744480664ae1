"""The time limit of one attempt, which a job can stop while it waits for its turn at something that is shared."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Clock:
    """Counts the time of one attempt. Made with its `Context`; `ctx.clock`."""

    __slots__ = ("_deadline", "_limit_s")

    def __init__(self) -> None:
        self._deadline: asyncio.Timeout | None = None
        self._limit_s = 0.0

    def start(self, limit_s: float) -> asyncio.Timeout:
        """The deadline of an attempt that may take `limit_s` seconds: a context manager to run it in."""
        self._limit_s = limit_s
        self._deadline = asyncio.timeout(limit_s)
        return self._deadline

    @property
    def overdue_s(self) -> float:
        """For how long the attempt has been over its limit; negative before it, and while the clock stands still."""
        ends_s = None if self._deadline is None else self._deadline.when()
        # not the loop's time: uvloop's stands still while a job blocks the loop
        return -math.inf if ends_s is None else time.monotonic() - ends_s

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """While the job waits for its turn (a free connection, say). After it, the attempt has its whole time again.

        Without it a busy peer uses up the time of attempts that have not spoken with it yet, and cuts them off
        in the middle of their effects.
        """
        if self._deadline is None or self._deadline.expired():
            yield
            return
        self._deadline.reschedule(None)
        try:
            yield
        finally:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._limit_s)

    @asynccontextmanager
    async def turn(self, free: asyncio.Semaphore) -> AsyncIterator[None]:
        """One of what is `free` is the attempt's for the block; the wait for it is not a part of its time."""
        with self.stopped():
            await free.acquire()
        try:
            yield
        finally:
            free.release()
