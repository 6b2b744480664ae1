"""Requests that were sent before earlier ones had their answers, once a client has sent too many of them: in turn.

All connections of a process share this one queue. A pause for each connection by itself would let the requests of five
such clients come due in one turn of the loop, and everybody else would wait for all five.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

GAP_S = 0.004
"""Between two such requests, whichever connections they came on: 250 a second. One that costs 0.4 ms, as most do, takes
a tenth of the loop's time then, however many clients send them."""


class AheadQueue:
    """That of one process; it belongs to the loop that first uses it."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._next_s = 0.0
        """When the next may start, by the loop's clock."""

    def start(self, loop: asyncio.AbstractEventLoop, request: Callable[[], None]) -> None:
        """Calls it when its turn has come."""
        self._waiting.append(request)
        if len(self._waiting) == 1:
            self._wait(loop)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(max(self._next_s - loop.time(), 0), self._start_next, loop)

    def _start_next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._next_s = loop.time() + GAP_S
        request = self._waiting.popleft()
        if self._waiting:
            self._wait(loop)
        request()
