"""What Errand touches of redis-py that redis-py does not promise: this file alone, for redis-py 5.3.

Every class of Errand that extends one of redis-py's is here, or extends one of here by methods of its own. What these
classes rely on is listed by `tests/redis/test_redis_py.py`, which fails when redis-py changes it, and when another
file of Errand overrides a method of redis-py's or touches an attribute that it keeps to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.connection import HiredisRespSerializer
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, RedisError, ResponseError, TimeoutError

CONNECTING_AT_ONCE = 10
"""Few enough that a thousand callers share the connections which the first of them open; redis-py's way is one."""


NO_MASTER_ANY_MORE = ("MASTERDOWN",)
"""How the answer of a server starts that has become a replica, beside READONLY; redis-py makes no class of it.

Not UNBLOCKED: a claim may follow the call that was unblocked, and its answer, which says more, is still to come.
"""


READ_BYTES = 65_536


CLOSED = "Connection closed by server."


class Pool(ConnectionPool):
    """The connections of one client: packed in C, opened side by side, given up with a server that fell.

    redis-py keeps a connection whose server says that it is no master any more, and opens one connection after
    another: behind a silent server the tenth caller waits for the time limits of nine others.
    """

    key_prefix = ""
    """What the names of keys have before them on the server; set by pools whose connections add it."""

    def __init__(self, connection_class: type[AbstractConnection] = Connection, **options: Any) -> None:
        """`options` are those of redis-py's connections."""
        super().__init__(connection_class=packed(connection_class), **options)  # type: ignore[arg-type]  # a class hashes as any object
        self._tls: Any = None
        self._gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self._ends = 0
        """How often the pool was closed: what connects meanwhile must notice it, as nobody would close that."""

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> AbstractConnection:
        """A connection that is connected. Raises redis' errors."""
        if (ready := self._take_ready()) is not None:
            return ready
        if self.has_connected_idle:
            return await self.take_connection()
        ends = self._ends
        async with self._gate:
            self._check_goes_on(ends)
            return await self.take_connection()

    def _check_goes_on(self, ends: int) -> None:
        """Raises ConnectionError if the pool was closed since it had ended so often: nobody closes what opens then."""
        if self._ends != ends:
            raise ConnectionError("the client was closed while it connected")

    @property
    def has_connected_idle(self) -> bool:
        """The next connection given out is connected already."""
        idle = self._available_connections
        return bool(idle) and bool(idle[-1].is_connected)

    def _take_ready(self) -> Packed | None:
        """The connection that was used last, if there is one for which nothing has to be awaited."""
        idle: list[Any] = self._available_connections
        if not idle or not idle[-1].is_connected or idle[-1].has_unread:
            return None
        ready: Packed = idle.pop()
        self._in_use_connections.add(ready)
        return ready

    async def call(self, *command: Any) -> Any:
        """The reply to a command, as the server gives it. Raises redis' errors.

        redis-py's own way is 40 function calls longer, of the 420 between an enqueue and its job.
        """
        connection = self._take_ready() or await self.get_connection()
        try:
            await connection.send_packed_command(connection.pack_command(*command))
            return await connection.read_response()
        finally:
            await self.release(connection)

    async def call_both(self, first: Sequence[Any], second: Sequence[Any]) -> tuple[Any, Any]:
        """The replies to two commands that are sent in one write; error replies are among them. Raises other errors."""
        connection = self._take_ready() or await self.get_connection()
        try:
            await connection.send_packed_command([*connection.pack_command(*first), *connection.pack_command(*second)])
            return await _reply_or_error(connection), await _reply_or_error(connection)
        finally:
            await self.release(connection)

    async def release(self, connection: AbstractConnection) -> None:
        """Takes a connection back. Only one whose token has changed needs redis-py's way: it logs in again there."""
        if connection._re_auth_token is not None:
            await super().release(connection)
            return
        self._in_use_connections.remove(connection)
        self._available_connections.append(connection)

    async def take_connection(self) -> AbstractConnection:
        """A connection that is connected. Raises redis' errors; ConnectionError if the pool is closed meanwhile."""
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        ends = self._ends
        try:
            await self.ensure_connection(connection)
            self._check_goes_on(ends)
        except BaseException:
            if self._ends != ends:
                await connection.disconnect(nowait=True)
            await self.release(connection)
            raise
        return connection

    def make_connection(self) -> AbstractConnection:
        connection: Any = super().make_connection()  # type: ignore[no-untyped-call]
        connection.pool = weakref.ref(self)
        if isinstance(connection, SSLConnection):
            # it reads the machine's certificates, which holds up the loop: once for all connections
            self._tls = connection.ssl_context = self._tls or connection.ssl_context
        return connection  # type: ignore[no-any-return]  # redis-py leaves it untyped

    async def drop_idle(self) -> None:
        """Closes the connections that nobody uses: their server has fallen silent, or is the wrong one by now.

        It waits for nothing, so a caller that is cancelled leaves none open, and takes nobody else along: those who
        wait for the end of one connection are all cancelled with the first of them.
        """
        idle, self._available_connections = self._available_connections, []
        _close_all(idle)

    async def drop_except(self, address: tuple[str, int]) -> None:
        """Closes the connections to any other host and port; a call that waits on one of them fails."""
        known: list[Any] = [*self._available_connections, *self._in_use_connections]
        others = [connection for connection in known if (connection.host, connection.port) != address]
        _close_all(others)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Closes the connections; if those in use are among them, the pool has ended."""
        # before anything is awaited: one who is cancelled while he closes would leave them open
        closed = _close_all([*self._available_connections, *(self._in_use_connections if inuse_connections else ())])
        if inuse_connections:
            self._ends += 1
            await self.end()
        await _noticed(closed)

    async def disconnect_all(self) -> None:
        """Closes the connections, and the pool goes on: they are opened again when they are needed."""
        await _noticed(_close_all([*self._available_connections, *self._in_use_connections]))

    async def end(self) -> None:
        """Called when the pool is closed, before its connections are; for a subclass that has more to close."""

    def arguments(self) -> dict[str, Any]:
        """What a pool to the same server is made with."""
        return {"connection_class": self.connection_class, **self.connection_kwargs}


def _close_all(connections: Iterable[Any]) -> list[Packed]:
    """Closes them at once, and returns those that were open."""
    return [connection for connection in connections if connection.close_at_once()]


async def _noticed(closed: list[Packed]) -> None:
    """Waits for the ends of connections that were closed, as long as it may take to open one."""
    await asyncio.gather(*(connection.has_closed() for connection in closed))


async def call(redis: Redis, *command: Any) -> Any:
    """The reply to a command, by the short way if that client's pool is ours. Raises redis' errors."""
    pool = redis.connection_pool
    if isinstance(pool, Pool):
        return await pool.call(*command)
    return await redis.execute_command(*command)  # type: ignore[no-untyped-call]


async def call_both(redis: Redis, first: Sequence[Any], second: Sequence[Any]) -> tuple[Any, Any]:
    """The replies to two commands that are sent in one write; error replies are among them. Raises other errors."""
    pool = redis.connection_pool
    if isinstance(pool, Pool):
        return await pool.call_both(first, second)
    async with unread_pipeline(redis) as both:
        both.execute_command(*first)
        both.execute_command(*second)
        one, other = await both.execute(raise_on_error=False)
    return one, other


async def _reply_or_error(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def unread_pipeline(redis: Redis) -> Pipeline:
    """A pipeline, no transaction, whose answers come as Redis gives them: `QUEUED` is no hash, though HGETALL's is."""
    return Pipeline(redis.connection_pool, {}, False, None)


def copy_of(pool: ConnectionPool, *, reply_timeout_s: float) -> ConnectionPool:
    """A pool to the same server, ours or redis-py's, with another limit on how long a reply may take."""
    if isinstance(pool, Pool):
        return type(pool)(**{**pool.arguments(), "socket_timeout": reply_timeout_s})
    known: dict[str, Any] = {**pool.connection_kwargs, "socket_timeout": reply_timeout_s}
    if not isinstance(pool, SentinelConnectionPool):
        return ConnectionPool(connection_class=pool.connection_class, **known)
    del known["connection_pool"]  # each makes its own reference to itself
    return type(pool)(
        pool.service_name,
        pool.sentinel_manager,
        connection_class=pool.connection_class,
        is_master=pool.is_master,
        **known,
    )


async def drop_idle_of(redis: Redis) -> None:
    """Closes the connections of that client, whose pool is one of ours, that nobody uses."""
    pool = redis.connection_pool
    assert isinstance(pool, Pool), "of ours"
    await pool.drop_idle()


def key_prefix_of(redis: Redis) -> str:
    """What that client's pool, ours or redis-py's, puts before the names of keys."""
    pool = redis.connection_pool
    return pool.key_prefix if isinstance(pool, Pool) else ""


class Packed(AbstractConnection):
    """Adds to a kind of connection: commands put together by hiredis, and no turn of the loop that is not needed.

    redis-py uses hiredis so in its blocking client alone. A claim or finish has hundreds of arguments; packing them in
    Python took a third of a no-op job's time.
    """

    _reader: Any
    _writer: Any
    _parser: Any
    pack_in_c = HiredisRespSerializer()
    pool: weakref.ref[Pool] | None = None
    given_up_at: tuple[str, ...] = NO_MASTER_ANY_MORE
    """How answers start after which another server is to be looked for."""

    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = self.pack_in_c.pack(*args)
        return packed

    async def can_read_destructive(self) -> bool:
        """What redis-py asks of a connection before each call, without the turn of the event loop it takes there.

        The loop has read what came while the connection lay idle, a server's close or reset included.
        """
        return self.has_unread

    @property
    def has_unread(self) -> bool:
        """True if something came that nobody has asked for, or the connection has ended."""
        stream = self._reader
        return stream is None or bool(stream._buffer) or stream.at_eof() or stream.exception() is not None

    _closing: asyncio.StreamWriter | None = None

    def close_at_once(self) -> bool:
        """Closes it without a wait; True if it was open. `has_closed` waits."""
        self._parser.on_disconnect()
        self._closing, self._reader, self._writer = self._writer, None, None
        if self._closing is not None:
            # RuntimeError is uvloop's word for a connection that was reset a moment ago
            with contextlib.suppress(OSError, RuntimeError):
                self._closing.close()
        return self._closing is not None

    async def has_closed(self) -> None:
        """Returns when the peer has closed its side, too, or takes too long."""
        closing, self._closing = self._closing, None
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            async with asyncio.timeout(self.socket_connect_timeout):
                if closing is not None:
                    await closing.wait_closed()

    async def disconnect(self, nowait: bool = False) -> None:
        """Closes it; a peer that does not close its side in time is no error and hides none."""
        with contextlib.suppress(TimeoutError):
            await super().disconnect(nowait)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """A reply; a server that is not the master any more, or silent, is given up with all idle connections."""
        try:
            if args or options or self.health_check_interval:
                return await super().read_response(*args, **options)
            return await self._next_reply()
        except RedisError as error:
            if self._is_of_a_fallen_server(error):
                await self._give_up()
            raise

    async def _next_reply(self) -> Any:
        """As redis-py reads one, in half as many steps; without a time limit if it is there already."""
        try:
            reply = self._parsed()
            if reply is NOT_ENOUGH_DATA:
                async with asyncio.timeout(self.socket_timeout):
                    reply = await self._received()
        except BaseException as error:
            await self.disconnect(nowait=True)
            if isinstance(error, asyncio.TimeoutError):
                raise TimeoutError(f"Timeout reading from {self._host_error()}") from None
            if isinstance(error, OSError):
                raise ConnectionError(f"Error while reading from {self._host_error()} : {error.args}") from None
            raise
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def _received(self) -> Any:
        reply = NOT_ENOUGH_DATA
        while reply is NOT_ENOUGH_DATA:
            # the answer before this one, or another task, may have given the connection up
            data = b"" if self._reader is None else await self._reader.read(READ_BYTES)
            if not data or not self._parser._connected:
                raise ConnectionError(CLOSED)
            self._parser._reader.feed(data)
            reply = self._parsed()
        return reply

    def _parsed(self) -> Any:
        """The next reply that has come whole, or NOT_ENOUGH_DATA. A ConnectionError is raised: no reply follows it."""
        if not self._parser._connected:  # given up: what has come for the calls behind is not read any more
            raise ConnectionError(CLOSED)
        reply = self._parser._reader.gets()
        first = reply[0] if isinstance(reply, list) and reply else reply
        if isinstance(first, ConnectionError):
            raise first
        return reply

    def _is_of_a_fallen_server(self, error: RedisError) -> bool:
        if isinstance(error, ResponseError) and str(error).startswith(self.given_up_at):
            return True
        return isinstance(error, ReadOnlyError | BusyLoadingError | TimeoutError)

    async def _give_up(self) -> None:
        await self.disconnect(nowait=True)
        pool = self.pool() if self.pool is not None else None
        if pool is not None:
            await pool.drop_idle()

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Writes a command, without `asyncio.wait_for`.

        redis-py's use of it takes a task and a turn of the event loop more for each command, and can swallow a
        cancellation in Python 3.11.
        """
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        elif check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        try:
            self._writer.writelines(_parts(command))
            # mostly the system has taken all of it
            if self._writer.transport.get_write_buffer_size():
                async with asyncio.timeout(self.socket_timeout):
                    await self._writer.drain()
        except BaseException as error:
            # what was written of the command cannot be taken back
            await self.disconnect(nowait=True)
            if isinstance(error, asyncio.TimeoutError):
                raise TimeoutError("timeout writing to socket") from None
            # RuntimeError is uvloop's word for a connection that was reset a moment ago
            if isinstance(error, OSError | RuntimeError):
                raise ConnectionError(f"the connection ended while it was written to: {error}") from error
            raise


@cache
def packed(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same kind of connection, as `Packed`."""
    if issubclass(connection_class, Packed):
        return connection_class
    return type("Packed", (Packed, connection_class), {})


def _parts(command: bytes | str | Iterable[bytes]) -> Iterable[bytes]:
    if isinstance(command, str):
        command = command.encode()
    return [command] if isinstance(command, bytes) else command


class MovingConnection(Packed, Connection):
    """A connection whose address is looked for each time it is opened; a subclass says how."""

    async def open(self) -> None:
        """Finds an address and calls `open_at`. Raises redis' errors."""
        raise NotImplementedError

    async def greet(self) -> None:
        """Called on each connection that has just been opened, after its login; for a subclass that must ask more."""

    async def open_at(self, address: tuple[str, int]) -> None:
        """Connects to that host and port. Raises redis' errors."""
        self.host, self.port = address
        await super().connect()  # type: ignore[no-untyped-call]

    async def connect(self) -> None:
        if not self.is_connected:
            await self.open()

    async def on_connect(self) -> None:
        await super().on_connect()
        await self.greet()


class MovingTlsConnection(MovingConnection, SSLConnection):
    """The same over TLS."""


class RenamingConnection(MovingConnection):
    """A connection to a server that knows keys by other names than its callers do; a subclass says how."""

    def on_server(self, command: tuple[Any, ...]) -> tuple[Any, ...]:
        """The command with the server's names."""
        raise NotImplementedError

    def from_server(self, reply: Any) -> Any:
        """The reply with the callers' names."""
        raise NotImplementedError

    def error_from_server(self, error: ResponseError) -> ResponseError:
        """The error as it is raised."""
        return error

    def pack_command(self, *args: Any) -> list[bytes]:
        return super().pack_command(*self.on_server(args))

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            reply = await super().read_response(*args, **options)
        except ResponseError as error:
            raise self.error_from_server(error) from None
        return self.from_server(reply)


class RenamingTlsConnection(RenamingConnection, MovingTlsConnection):
    """The same over TLS."""
