"""Requests sent ahead have one queue: those of several clients never come due together."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import Any

import pytest

from errand.server.ahead import GAP_S, AheadQueue
from errand.server.framing import AHEAD_AT_ONCE, Framing
from tests.server.test_http_protocol import GET, connected, port

__all__ = ["port"]


async def test_requests_start_in_the_order_in_which_they_came() -> None:
    loop, started, all_started = asyncio.get_running_loop(), list[int](), asyncio.Event()
    queue = AheadQueue()
    for number in range(3):
        queue.start(loop, partial(started.append, number))
    assert started == [], "none starts within the call"
    queue.start(loop, all_started.set)
    async with asyncio.timeout(60):
        await all_started.wait()
    assert started == [0, 1, 2]


async def test_requests_of_several_clients_never_start_together(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    started_s: list[float] = []
    start = Framing._start_if_open

    def noted(self: Framing, *args: Any) -> None:
        started_s.append(self.loop.time())
        start(self, *args)

    monkeypatch.setattr(Framing, "_start_if_open", noted)
    number = AHEAD_AT_ONCE + 20

    async def ask() -> None:
        async with connected(port) as connection:
            await connection.send((GET + b"\r\n") * number)
            assert [(await connection.answer())[0] for _ in range(number)] == [200] * number

    async with asyncio.timeout(60):
        await asyncio.gather(*(ask() for _ in range(3)))
    # uvloop's timers count in whole milliseconds
    assert min(after - before for before, after in itertools.pairwise(started_s)) > GAP_S / 2
    assert len(started_s) >= 3 * 10
