"""Measures how late a worker's event loop is: a job that blocks it delays all the others, and no error shows it."""

from __future__ import annotations

import asyncio
import time

EVERY_S = 0.2


class LoopLag:
    """A timer that is due every 200 ms; it remembers how late it fired at most."""

    def __init__(self) -> None:
        self._worst_s = 0.0
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measures the running loop from now on."""
        loop = asyncio.get_running_loop()
        self._due_s = loop.time() + EVERY_S
        self._timer = loop.call_at(self._due_s, self._fire, loop)

    def stop(self) -> None:
        """Ends the measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def late_s(self) -> float:
        """By how much the timer is overdue, negative while it is not: read by another thread, a block that lasts."""
        return 0.0 if self._timer is None else time.monotonic() - self._due_s

    def take_ms(self) -> float:
        """The worst lateness since the last call, in ms."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return round(worst_s * 1000, 1)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        self._worst_s = max(self._worst_s, now_s - self._due_s)
        # counted from now: the times that one long block has missed must not count again
        self._due_s = now_s + EVERY_S
        self._timer = loop.call_at(self._due_s, self._fire, loop)
