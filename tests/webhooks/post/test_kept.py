"""What is remembered of origins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from errand.webhooks.post.kept import KeptConnections


def test_nothing_is_remembered_of_an_origin_whose_connection_cannot_be_kept() -> None:
    closed: list[int] = []
    kept = KeptConnections()
    for port in range(100):
        connection: Any = SimpleNamespace(is_open=False, close=lambda port=port: closed.append(port))
        kept.put(cast(Any, ("a.example", port)), connection)
    assert (len(closed), kept._kept) == (100, {})
