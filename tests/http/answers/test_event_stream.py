"""The shortcut from a batch of changes to the connection of a client that waits for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from errand.events.watcher import ChangeBatch, EventFilter, Watcher
from errand.http.answers.event_stream import PIECE_BYTES, EventStream


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


async def nothing() -> AsyncGenerator[bytes, None]:
    yield b""


@pytest.fixture
def connection() -> Any:
    cycle = SimpleNamespace(chunked_encoding=True, disconnected=False)
    return SimpleNamespace(transport=Transport(), flow=SimpleNamespace(write_paused=False), cycle=cycle)


def stream(rendered: list[ChangeBatch], body: bytes = b"event: queued\n\n") -> EventStream:
    def render(batch: ChangeBatch) -> bytes:
        rendered.append(batch)
        return body

    feed: Any = None
    return EventStream(nothing(), watcher=Watcher(EventFilter()), feed=feed, render=render)


def test_a_batch_is_rendered_once_for_all_connections(connection: Any) -> None:
    rendered: list[ChangeBatch] = []
    batch = ChangeBatch([])
    for _ in range(2):
        write = stream(rendered)._shortcut_to(connection)
        assert write is not None and write(batch)
    assert connection.transport.written == [b"f\r\nevent: queued\n\n\r\n"] * 2 and rendered == [batch]


def test_nothing_is_rendered_for_a_client_that_does_not_read(connection: Any) -> None:
    rendered: list[ChangeBatch] = []
    write = stream(rendered)._shortcut_to(connection)
    assert write is not None
    connection.flow.write_paused = True
    assert not write(ChangeBatch([]))
    assert (rendered, connection.transport.written) == ([], [])


def test_what_is_larger_than_a_piece_takes_the_long_way(connection: Any) -> None:
    write = stream([], b"x" * PIECE_BYTES)._shortcut_to(connection)
    assert write is not None and not write(ChangeBatch([]))
    assert connection.transport.written == []


def test_a_client_that_takes_no_chunks_has_no_shortcut(connection: Any) -> None:
    connection.cycle.chunked_encoding = False
    assert stream([])._shortcut_to(connection) is None
