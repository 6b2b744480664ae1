"""The webhook sink, which runs on a developer's machine alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
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


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "rebound.example"},
    ],
)
async def test_no_web_page_leaves_anything_in_the_sink(tmp_path: Path, headers: dict[str, str]) -> None:
    settings = make_settings(tmp_path, webhook_sink_port=free_port())
    url = f"http://127.0.0.1:{settings.webhook_sink_port}/"
    async with opened_sink(settings), aiohttp.ClientSession() as session:
        async with session.post(url, data=b"{}", headers={"webhook-id": "msg-1", **headers}) as answer:
            assert answer.status == 403
        assert list((tmp_path / "webhooks").iterdir()) == []
        async with session.post(url, data=b"{}", headers={"webhook-id": "msg-1"}) as answer:
            assert answer.status == 204
        assert [path.name for path in (tmp_path / "webhooks").iterdir()] == ["msg-1.json"]
