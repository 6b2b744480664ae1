"""A task that a job has started cannot end the loop of its worker; the worker itself can."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from errand.process import endless


async def exits() -> None:
    raise SystemExit(3)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_task_that_exits_ends_no_loop_and_is_an_error_for_who_waits_for_it() -> None:
    seen: list[object] = []

    async def other() -> None:
        await asyncio.sleep(0.01)
        seen.append("another task went on")

    async def main() -> None:
        going_on = asyncio.create_task(other())
        seen.extend(await asyncio.gather(exits(), return_exceptions=True))
        seen.extend(await asyncio.gather(exits(), return_exceptions=True))
        await going_on
        raise SystemExit("settings: bad")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, pytest.raises(SystemExit, match="settings: bad"):
        endless.run(runner, main())
    first, second, last = seen
    assert isinstance(first, SystemExit) and isinstance(second, SystemExit)
    assert last == "another task went on"
