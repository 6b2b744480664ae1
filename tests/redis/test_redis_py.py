"""Fails when redis-py changes what Errand relies on beyond its promises, or when a second file relies on such."""

from __future__ import annotations

import ast
import asyncio
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _AsyncHiredisParser
from redis.asyncio import ConnectionPool, Redis, client, sentinel
from redis.asyncio import connection as connections
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.connection import HiredisRespSerializer
from redis.event import AsyncAfterConnectionReleasedEvent, AsyncReAuthConnectionListener, EventDispatcher
from redis.exceptions import ConnectionError, ResponseError

import errand
from errand.redis.redis_py import Packed, Pool, call, call_both, copy_of, packed
from tests.waiting import eventually

HOUSE = Path(errand.__file__).parent
THE_PLACE = "errand.redis.redis_py"

RELIED_ON = {
    (ConnectionPool, "get_connection"): "(self, command_name=None, *keys, **options)",
    (ConnectionPool, "get_available_connection"): "(self)",
    (ConnectionPool, "ensure_connection"): "async (self, connection: redis.asyncio.connection.AbstractConnection)",
    (ConnectionPool, "make_connection"): "(self)",
    (ConnectionPool, "release"): "async (self, connection: redis.asyncio.connection.AbstractConnection)",
    (ConnectionPool, "disconnect"): "async (self, inuse_connections: bool = True)",
    (AbstractConnection, "connect"): "async (self)",
    (AbstractConnection, "on_connect"): "async (self) -> None",
    (AbstractConnection, "check_health"): "async (self)",
    (AbstractConnection, "disconnect"): "async (self, nowait: bool = False) -> None",
    (AbstractConnection, "can_read_destructive"): "async (self)",
    (AbstractConnection, "pack_command"): (
        "(self, *args: Union[bytes, bytearray, memoryview, str, int, float]) -> List[bytes]"
    ),
    (AbstractConnection, "send_packed_command"): (
        "async (self, command: Union[bytes, str, Iterable[bytes]], check_health: bool = True) -> None"
    ),
    (AbstractConnection, "read_response"): (
        "async (self, disable_decoding: bool = False, timeout: Optional[float] = None, *,"
        " disconnect_on_error: bool = True, push_request: Optional[bool] = False)"
    ),
    (SentinelConnectionPool, "__init__"): "(self, service_name, sentinel_manager, **kwargs)",
    (HiredisRespSerializer, "pack"): "(self, *args: List)",
}
"""Methods that are overridden or called, as redis-py 5.3 has them."""


def signature_of(method: Callable[..., Any]) -> str:
    text = re.sub(r"\btyping\.", "", str(inspect.signature(method)))
    return f"async {text}" if inspect.iscoroutinefunction(method) else text


@pytest.mark.parametrize("method", RELIED_ON, ids=lambda method: f"{method[0].__name__}.{method[1]}")
def test_a_method_is_as_it_was(method: tuple[type, str]) -> None:
    assert signature_of(getattr(*method)) == RELIED_ON[method]


def test_redis_py_takes_its_connections_by_the_two_steps_that_are_used() -> None:
    source = inspect.getsource(ConnectionPool.get_connection)
    assert "self.get_available_connection()" in source and "self.ensure_connection(connection)" in source


def test_redis_py_asks_before_each_call_whether_something_came_unasked() -> None:
    assert "can_read_destructive" in inspect.getsource(ConnectionPool.ensure_connection)


def test_a_connection_that_comes_back_is_logged_in_again_only_if_its_token_has_changed() -> None:
    listeners: Any = EventDispatcher()  # type: ignore[no-untyped-call]
    (listener,) = listeners._event_listeners_mapping[AsyncAfterConnectionReleasedEvent]
    assert isinstance(listener, AsyncReAuthConnectionListener)
    assert "if self._re_auth_token is not None" in inspect.getsource(AbstractConnection.re_auth)


async def test_two_calls_that_are_sent_together_have_an_answer_each(redis: ArqRedis, redis_url: str) -> None:
    await redis.set("word", "a")
    incr, get = ("INCR", "word"), ("GET", "word")
    error, answer = await call_both(redis, incr, get)
    assert isinstance(error, ResponseError) and answer == b"a"
    stock = Redis.from_url(redis_url)
    error, answer = await call_both(stock, incr, get)
    assert isinstance(error, ResponseError) and answer == b"a"
    assert await call(stock, *get) == await call(redis, *get) == b"a"
    await stock.aclose()


async def test_a_call_that_is_given_up_leaves_no_answer_for_the_next_one(redis: ArqRedis) -> None:
    waiting = asyncio.create_task(call_both(redis, ("BLPOP", "never", 0), ("PING",)))

    async def is_waiting() -> bool | None:
        return (await redis.info("clients"))["blocked_clients"] == 1 or None

    await eventually(is_waiting)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await call(redis, "ECHO", "mine") == b"mine"
    assert not redis.connection_pool._in_use_connections


async def test_a_call_beside_one_that_gives_the_connection_up_is_an_outage(redis: ArqRedis) -> None:
    with pytest.raises(ConnectionError):
        await call_both(redis, ("EVAL", "return redis.error_reply('READONLY a replica')", 0), ("BLPOP", "never", 0))
    assert await call(redis, "ECHO", "mine") == b"mine"


def test_redis_py_opens_a_connection_by_the_steps_that_are_used() -> None:
    assert "await self.on_connect()" in inspect.getsource(AbstractConnection.connect)
    source = inspect.getsource(Connection)
    assert '"host": self.host' in source and '"port": self.port' in source


async def test_a_connection_has_the_reader_and_writer_that_are_used(redis: ArqRedis) -> None:
    pool = redis.connection_pool
    assert isinstance(pool, Pool)
    connection = await pool.take_connection()
    assert isinstance(connection, Packed)
    assert isinstance(connection._reader, asyncio.StreamReader)
    assert isinstance(connection._reader._buffer, bytearray)  # type: ignore[attr-defined]  # private
    assert isinstance(connection._writer, asyncio.StreamWriter)
    parser: Any = connection._parser
    assert parser._reader.gets() is NOT_ENOUGH_DATA and type(parser) is _AsyncHiredisParser
    await connection.send_command("PING")
    assert await connection.read_response() in (b"PONG", "PONG")
    assert not await connection.can_read_destructive()
    await pool.release(connection)
    assert pool._available_connections[-1] is connection and pool.has_connected_idle
    await pool.drop_idle()
    assert not parser._connected
    assert not connection.is_connected and not pool.has_connected_idle


def test_connections_over_tls_share_what_is_read_of_the_machine() -> None:
    pool = Pool(SSLConnection)
    first, second = pool.make_connection(), pool.make_connection()
    assert isinstance(first, SSLConnection) and isinstance(second, SSLConnection)
    assert first.ssl_context is second.ssl_context is not None
    assert "self.ssl_context.get()" in inspect.getsource(SSLConnection)


def test_a_stock_pool_behind_sentinel_can_be_copied() -> None:
    stock = SentinelConnectionPool("m", Sentinel([]), socket_timeout=1, password="p")  # type: ignore[no-untyped-call]
    copy = copy_of(stock, reply_timeout_s=7)
    assert isinstance(copy, SentinelConnectionPool)
    assert (copy.service_name, copy.sentinel_manager) == (stock.service_name, stock.sentinel_manager)
    assert copy.connection_class is stock.connection_class
    expected = {**stock.connection_kwargs, "socket_timeout": 7}
    own = {"connection_pool"}
    assert {n: v for n, v in copy.connection_kwargs.items() if n not in own} == {
        n: v for n, v in expected.items() if n not in own
    }


def test_each_kind_is_made_once() -> None:
    of_class: Callable[[Any], Any] = packed
    assert of_class(Connection) is of_class(Connection) and issubclass(of_class(Connection), Packed)
    assert of_class(of_class(Connection)) is of_class(Connection)


# --- one place


def classes_of_errand() -> Iterator[type]:
    """Those with a class of redis-py, no exception, among their ancestors."""
    for found in pkgutil.walk_packages([str(HOUSE)], "errand."):
        if found.name.endswith("__main__"):
            continue
        for thing in vars(importlib.import_module(found.name)).values():
            if inspect.isclass(thing) and thing.__module__ == found.name and stock_ancestors(thing):
                yield thing


def stock_ancestors(thing: type) -> list[type]:
    if issubclass(thing, BaseException):
        return []
    return [ancestor for ancestor in thing.__mro__ if ancestor.__module__.partition(".")[0] == "redis"]


def test_what_is_overridden_is_listed_above_and_overridden_in_one_file() -> None:
    overridden: dict[str, set[str]] = {}
    for thing in classes_of_errand():
        names = {
            name
            for name in vars(thing)
            if not name.startswith("__") and any(hasattr(ancestor, name) for ancestor in stock_ancestors(thing))
        }
        overridden.setdefault(thing.__module__, set()).update(names)
    assert {module for module, names in overridden.items() if names} == {THE_PLACE}
    assert overridden[THE_PLACE] <= {name for _, name in RELIED_ON}


def private_names_of_redis_py() -> set[str]:
    sources = map(inspect.getsource, (client, connections, sentinel))
    return {name for source in sources for name in re.findall(r"\bself\.(_[a-z]\w*)", source)}


def test_no_other_file_touches_what_redis_py_keeps_to_itself() -> None:
    private = private_names_of_redis_py()
    assert {"_reader", "_available_connections", "_parser"} <= private
    files = set(HOUSE.rglob("*.py")) - {HOUSE / "redis" / "redis_py.py"}
    touching = {str(path): touched for path in files if (touched := touched_in(path.read_text(), private))}
    assert touching == {}


def touched_in(text: str, private: set[str]) -> set[str]:
    """Private names that are taken from anything but `self` and `cls`, and modules of redis-py that are private."""
    touched: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr in private:
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                touched.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("redis."):
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            touched.update(name for name in names if name.startswith("_"))
    return touched


def test_the_classes_that_extend_redis_pys_keep_off_its_attributes() -> None:
    private = private_names_of_redis_py()
    for thing in classes_of_errand():
        if thing.__module__ != THE_PLACE:
            assert set(re.findall(r"\bself\.(_\w+)", inspect.getsource(thing))) & private == set(), thing


def test_the_rule_sees_what_breaks_it() -> None:
    private = private_names_of_redis_py()
    assert touched_in("def f(pool):\n    return pool.connection._reader", private) == {"_reader"}
    assert touched_in("from redis._parsers import _RESP3Parser", private) == {"_parsers", "_RESP3Parser"}
    assert touched_in("self._reader", private) == set()
    assert stock_ancestors(Redis) and not stock_ancestors(ValueError)
