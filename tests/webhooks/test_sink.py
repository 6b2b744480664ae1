"""The webhook sink, which runs on a developer's machine alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from errand.webhooks.sink import opened_sink
from tests.conftest import make_settings
from tests.ports import free_port


async def test_there_is_no_sink_if_keys_guard_the_service(tmp_path: Path) -> None:
    guarded = make_settings(tmp_path, api_keys="k" * 16, webhook_sink_port=free_port())
    async with opened_sink(guarded) as endpoints:
        assert endpoints == []
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", guarded.webhook_sink_port)
