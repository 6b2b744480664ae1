"""Files of which nobody knows whether they have a job are waited with, but not without end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import aclosing
from typing import Any, cast

import pytest

from errand.resources.job_files import JobFiles
from errand.uploads import doubtful
from tests.waiting import eventually


class Files:
    """Those of jobs that all turn out to be there."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    async def known(self, job_ids: Collection[str]) -> set[str]:
        return set(job_ids)

    async def note(self, job_id: str, args: Any) -> None:
        self.noted.append(job_id)


async def test_while_redis_hangs_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubtful, "MAX_LEFT", 2)
    monkeypatch.setattr(doubtful, "SETTLED_AFTER_S", 0.0)
    files = Files()
    async with aclosing(doubtful.DoubtfulUploads(cast(JobFiles, files))) as uploads:
        for number in range(5):
            uploads.add([], {f"job-{number}": {}})

        async def both() -> bool:
            return len(files.noted) >= 2

        await eventually(both)
        for _ in range(10):
            await asyncio.sleep(0)
    assert files.noted == ["job-0", "job-1"]
