"""The shortcut from a batch of changes to the connection of a client that waits for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message

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


async def test_others_have_the_loop_between_the_pieces_of_a_chunk() -> None:
    """The client reads as fast as is sent, so that `send` never waits."""
    turn, pieces = 0, Counter[int]()

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"x" * PIECE_BYTES * 20

    async def send(message: Message) -> None:
        pieces[turn] += bool(message.get("body"))

    async def receive() -> Message:
        forever: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await forever

    feed = SimpleNamespace(dismiss=dismiss)
    answering = asyncio.create_task(
        EventStream(chunks(), watcher=Watcher(EventFilter()), feed=feed)({"type": "http"}, receive, send)  # type: ignore[arg-type]  # dismisses alone
    )
    while not answering.done():
        await asyncio.sleep(0)
        turn += 1
    assert (sum(pieces.values()), max(pieces.values())) == (20, 1)


async def dismiss(watcher: Watcher) -> None:
    pass
