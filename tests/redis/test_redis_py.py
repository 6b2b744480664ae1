"""Fails when redis-py changes what `errand.redis.redis_py` relies on beyond its promises."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, Connection

from errand.redis.redis_py import IdleConnections, Packed, packed

ROOMS = Path(__file__).parents[2] / "errand"


@pytest.mark.parametrize("name", ["can_read_destructive", "send_packed_command", "read_response", "disconnect"])
def test_what_is_overridden_is_there_to_be_called(name: str) -> None:
    stock, ours = getattr(AbstractConnection, name), getattr(Packed, name)
    assert inspect.iscoroutinefunction(stock) and inspect.iscoroutinefunction(ours)
    taken = {parameter.kind for parameter in inspect.signature(ours).parameters.values()}
    if inspect.Parameter.VAR_POSITIONAL not in taken:
        assert inspect.signature(ours).parameters.keys() == inspect.signature(stock).parameters.keys()


def test_redis_py_takes_its_connections_by_the_two_steps_that_are_used() -> None:
    source = inspect.getsource(ConnectionPool.get_connection)
    assert "self.get_available_connection()" in source and "self.ensure_connection(connection)" in source


def test_redis_py_asks_before_each_call_whether_something_came_unasked() -> None:
    assert "can_read_destructive" in inspect.getsource(ConnectionPool.ensure_connection)


async def test_a_connection_has_the_reader_and_writer_that_are_used(redis: ArqRedis) -> None:
    pool = redis.connection_pool
    assert isinstance(pool, IdleConnections)
    connection = await pool.take_connection()
    assert isinstance(connection, Packed)
    assert isinstance(connection._reader, asyncio.StreamReader)
    assert isinstance(connection._reader._buffer, bytearray)  # type: ignore[attr-defined]  # private
    assert isinstance(connection._writer, asyncio.StreamWriter)
    await connection.send_command("PING")
    assert await connection.read_response() in (b"PONG", "PONG")
    assert not await connection.can_read_destructive()
    await pool.release(connection)
    assert pool._available_connections[-1] is connection and pool.has_connected_idle
    await pool.drop_idle()
    assert not connection.is_connected and not pool.has_connected_idle


def test_each_kind_is_made_once() -> None:
    of_class: Callable[[Any], Any] = packed
    assert of_class(Connection) is of_class(Connection) and issubclass(of_class(Connection), Packed)
    assert of_class(of_class(Connection)) is of_class(Connection)


def test_no_other_file_touches_what_redis_py_keeps_to_itself() -> None:
    private = re.compile(r"\._(reader|available_connections|in_use_connections|parser)\b")
    touching = {path.name for path in (ROOMS / "redis").rglob("*.py") if private.search(path.read_text())}
    assert touching == {"redis_py.py"}
