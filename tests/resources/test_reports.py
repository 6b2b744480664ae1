"""Reports of a computation in another process, from its pipe to the listener."""

from __future__ import annotations

from pathlib import Path

import pytest

from errand.resources.process_pool import ProcessDied, ProcessPool
from errand.resources.reports import listening, listening_after, report
from tests.resources.computations import report_and_die
from tests.waiting import NEVER_S, eventually


async def test_reports_are_heard_in_order_until_the_computation_ends_and_nobody_waits_for_more(tmp_path: Path) -> None:
    pipe, reported = tmp_path / "pipe", list[str]()

    async def listen(text: str) -> None:
        reported.append(text)

    async with ProcessPool.open(processes=1) as pool:
        async with listening(pipe, listen):
            await pool.run(20, report, pipe, "decoded")
            await pool.run(20, report, pipe, "1 of 2 made")
        assert reported == ["decoded", "1 of 2 made"]
        # the worker is gone: its computation goes on
        await pool.run(20, report, pipe, "too late")
        await pool.run(20, report, None, "to nobody")
        with pytest.raises(ProcessDied):
            async with listening(tmp_path / "other", listen):
                await pool.run(20, report_and_die, tmp_path / "other")
    assert reported[:2] == ["decoded", "1 of 2 made"] and "too late" not in reported


async def test_what_is_reported_before_somebody_listens_is_not_heard(tmp_path: Path) -> None:
    pipe, reported = tmp_path / "pipe", list[str]()

    async def listen(text: str) -> None:
        reported.append(text)

    async def there() -> bool:
        return pipe.exists()

    async with listening_after(0.01, pipe, listen):
        report(pipe, "early")
        await eventually(there)
        report(pipe, "late")
    assert reported == ["late"]
    async with listening_after(NEVER_S, tmp_path / "other", listen):
        report(tmp_path / "other", "too early")
    assert reported == ["late"] and not (tmp_path / "other").exists()
