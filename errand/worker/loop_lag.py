"""How late the event loop is: measured where jobs run, because one that blocks it delays all others unseen."""

from __future__ import annotations

import asyncio

EVERY_S = 0.2


class LoopLag:
    """A timer that is due every 200 ms, and how late it fired: the most since it was last asked."""

    def __init__(self) -> None:
        self._worst_s = 0.0
        self._due_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measures on the loop that runs."""
        loop = asyncio.get_running_loop()
        self._due_s = loop.time() + EVERY_S
        self._timer = loop.call_at(self._due_s, self._fire, loop)

    def stop(self) -> None:
        """No more is measured."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def take_ms(self) -> float:
        """The most since the last call, ms; a block that still lasted would be in the next one."""
        worst_s, self._worst_s = self._worst_s, 0.0
        return round(worst_s * 1000, 1)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = loop.time()
        self._worst_s = max(self._worst_s, now_s - self._due_s)
        # from now on, not from when it was due: the beats that a block has missed are no lateness of their own
        self._due_s = now_s + EVERY_S
        self._timer = loop.call_at(self._due_s, self._fire, loop)
