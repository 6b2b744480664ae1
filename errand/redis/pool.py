"""Connections to Redis as the engine wants them: packed in C, opened side by side, given up with a server that fell.

redis-py keeps a connection whose server says that it is no master any more, and opens one connection after another:
behind a silent server the tenth caller waits for the time limits of nine others.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Iterable
from functools import cache
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.connection import HiredisRespSerializer
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, RedisError, ResponseError, TimeoutError

CONNECTING_AT_ONCE = 10
"""Few enough that a thousand callers share the connections which the first of them open; redis-py's way is one."""


NO_MASTER_ANY_MORE = "MASTERDOWN"
"""How the answer of a server begins that has become a replica, beside READONLY; redis-py makes no class of it.

Not UNBLOCKED: a claim may follow the call that was unblocked, and its answer, which says more, is still to come.
"""


class Pool(ConnectionPool):
    """The connections of one client. `options` are those of redis-py's connections."""

    def __init__(self, connection_class: type[AbstractConnection] = Connection, **options: Any) -> None:
        super().__init__(connection_class=packed(connection_class), **options)  # type: ignore[arg-type]  # a class hashes as any object
        self._tls: Any = None
        self._gate = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> AbstractConnection:
        """A connection that is connected. Raises redis' errors."""
        if self._available_connections and self._available_connections[-1].is_connected:
            return await self._connected()
        async with self._gate:
            return await self._connected()

    async def _connected(self) -> AbstractConnection:
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
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
        """Closes the connections that nobody uses: their server has fallen silent, or is the wrong one by now."""
        idle, self._available_connections = self._available_connections, []
        await asyncio.gather(*(connection.disconnect(nowait=True) for connection in idle), return_exceptions=True)


def copy_of(pool: ConnectionPool, *, reply_timeout_s: float) -> ConnectionPool:
    """A pool to the same place, ours or redis-py's, with another limit on how long a reply may take."""
    known: dict[str, Any] = {**pool.connection_kwargs, "socket_timeout": reply_timeout_s}
    known["connection_class"] = pool.connection_class
    if isinstance(pool, SentinelConnectionPool):
        known.update(service_name=pool.service_name, sentinel_manager=pool.sentinel_manager, is_master=pool.is_master)
        del known["connection_pool"]  # each makes its own reference to itself
    kind: type[ConnectionPool] = type(pool) if isinstance(pool, Pool | SentinelConnectionPool) else ConnectionPool
    return kind(**known)


def _is_of_a_fallen_server(error: RedisError) -> bool:
    if isinstance(error, ResponseError) and str(error).startswith(NO_MASTER_ANY_MORE):
        return True
    return isinstance(error, ReadOnlyError | BusyLoadingError | TimeoutError)


@cache
def packed(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same kind of connection, with commands put together by hiredis.

    redis-py does so in its blocking client alone. A claim or finish has hundreds of arguments; packing them in Python
    took a third of a no-op job's time.
    """
    if hasattr(connection_class, "pack_in_c"):
        return connection_class

    class Packed(connection_class):  # type: ignore[valid-type, misc]  # a base known only here
        pack_in_c = HiredisRespSerializer()
        pool: weakref.ref[Pool] | None = None

        def pack_command(self, *args: Any) -> list[bytes]:
            packed: list[bytes] = self.pack_in_c.pack(*args)
            return packed

        async def can_read_destructive(self) -> bool:
            """What redis-py asks of a connection before each call, without the turn of the event loop it takes there.

            The loop has read what came while the connection lay idle, a server's close or reset included.
            """
            stream = self._reader
            return stream is None or bool(stream._buffer) or stream.at_eof() or stream.exception() is not None

        async def disconnect(self, nowait: bool = False) -> None:
            """Closes it; a peer that does not close its side in time is no error and hides none."""
            with contextlib.suppress(TimeoutError):
                await super().disconnect(nowait)

        async def read_response(self, *args: Any, **options: Any) -> Any:
            """A reply; a server that is not the master any more, or silent, is given up with all idle connections."""
            try:
                return await super().read_response(*args, **options)
            except RedisError as error:
                if _is_of_a_fallen_server(error):
                    await self._give_up()
                raise

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
                await self.connect()
            elif check_health:
                await self.check_health()
            try:
                self._writer.writelines(_parts(command))
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

    return Packed


def _parts(command: bytes | str | Iterable[bytes]) -> Iterable[bytes]:
    if isinstance(command, str):
        command = command.encode()
    return [command] if isinstance(command, bytes) else command
