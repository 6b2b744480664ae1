"""What is said of deliveries is written a moment later, and before the worker ends."""

from __future__ import annotations

import asyncio

import pytest

from errand.webhooks.endpoints import soon
from errand.webhooks.endpoints.soon import Soon


async def test_a_write_that_is_under_way_is_waited_for_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soon, "WRITE_EVERY_S", 0)
    started, go_on, to_write, written = asyncio.Event(), asyncio.Event(), ["it"], list[str]()

    async def write() -> None:
        if to_write:
            now = to_write.pop()
            started.set()
            await go_on.wait()
            written.append(now)

    later = Soon(write)
    later.ask()
    await started.wait()
    closing = asyncio.create_task(later.close())
    await asyncio.sleep(0)
    go_on.set()
    await closing
    assert written == ["it"]
