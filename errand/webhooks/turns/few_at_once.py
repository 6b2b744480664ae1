"""Spreads what comes all at once over turns of the event loop, so that nothing else of the process waits for it.

A claim brings 250 deliveries to a receiver that hangs, only to be put back, and a hundred exchanges with it end in one
moment: one turn of the loop for all of them held up every other job of the process for 20 ms.
"""

from __future__ import annotations

import asyncio
from collections import deque


class FewAtOnce:
    """Lets so many callers pass in each turn of the loop, in their order."""

    def __init__(self, in_a_turn: int) -> None:
        self._in_a_turn = in_a_turn
        self._passed = 0
        """In this turn."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Returns when the caller may go on."""
        if self._passed == 0:
            asyncio.get_running_loop().call_soon(self._begin_turn)
        if self._passed < self._in_a_turn:
            self._passed += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _begin_turn(self) -> None:
        self._passed = 0
        while self._waiting and self._passed < self._in_a_turn:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._passed += 1
                waiter.set_result(None)
        if self._passed:
            asyncio.get_running_loop().call_soon(self._begin_turn)
