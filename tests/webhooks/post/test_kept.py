"""What is remembered of origins."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from errand.webhooks.post.connection import PostConnection
from errand.webhooks.post.kept import KeptConnections


def test_nothing_is_remembered_of_an_origin_whose_connection_cannot_be_kept() -> None:
    closed: list[int] = []
    kept = KeptConnections()
    for port in range(100):
        connection: Any = SimpleNamespace(is_open=False, close=lambda port=port: closed.append(port))
        kept.put(cast(Any, ("a.example", port)), connection)
    assert (len(closed), kept._kept) == (100, {})


async def test_what_nobody_has_used_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errand.webhooks.post.kept.SWEEP_S", 0.0)
    monkeypatch.setattr("errand.webhooks.post.kept.KEEP_S", 0.0)
    kept, closed = KeptConnections(), asyncio.Event()
    connection = PostConnection()
    monkeypatch.setattr(PostConnection, "is_open", True)
    monkeypatch.setattr(connection, "close", closed.set)
    kept.put(cast(Any, ("a.example", 80)), connection)
    await closed.wait()
    assert kept._kept == {} and kept.take(cast(Any, ("a.example", 80))) is None
