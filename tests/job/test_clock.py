"""The time limit of an attempt, stopped while the job waits for its turn."""

from __future__ import annotations

import asyncio

from errand.job.clock import Clock


async def test_after_a_wait_the_attempt_has_its_whole_time_again() -> None:
    clock = Clock()
    deadline = clock.start(60)
    async with deadline:
        with clock.stopped():
            assert deadline.when() is None
        assert (deadline.when() or 0) >= asyncio.get_running_loop().time() + 59


async def test_a_clock_that_was_not_started_stops_nothing() -> None:
    with Clock().stopped():
        pass
