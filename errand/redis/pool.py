"""Connections to Redis as the engine wants them: packed in C, opened side by side, given up with a server that fell.

redis-py keeps a connection whose server says that it is no master any more, and opens one connection after another:
behind a silent server the tenth caller waits for the time limits of nine others.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from errand.redis.redis_py import IdleConnections, packed

CONNECTING_AT_ONCE = 10
"""Few enough that a thousand callers share the connections which the first of them open; redis-py's way is one."""


class Pool(IdleConnections):
    """The connections of one client. `options` are those of redis-py's connections."""

    def __init__(self, connection_class: type[AbstractConnection] = Connection, **options: Any) -> None:
        super().__init__(connection_class=packed(connection_class), **options)  # type: ignore[arg-type]  # a class hashes as any object
        self._tls: Any = None
        self._gate = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> AbstractConnection:
        """A connection that is connected. Raises redis' errors."""
        if self.has_connected_idle:
            return await self.take_connection()
        async with self._gate:
            return await self.take_connection()

    def make_connection(self) -> AbstractConnection:
        connection: Any = super().make_connection()  # type: ignore[no-untyped-call]
        connection.pool = weakref.ref(self)
        if isinstance(connection, SSLConnection):
            # it reads the machine's certificates, which holds up the loop: once for all connections
            self._tls = connection.ssl_context = self._tls or connection.ssl_context
        return connection  # type: ignore[no-any-return]  # redis-py leaves it untyped


def copy_of(pool: ConnectionPool, *, reply_timeout_s: float) -> ConnectionPool:
    """A pool to the same place, ours or redis-py's, with another limit on how long a reply may take."""
    known: dict[str, Any] = {**pool.connection_kwargs, "socket_timeout": reply_timeout_s}
    known["connection_class"] = pool.connection_class
    if isinstance(pool, SentinelConnectionPool):
        known.update(service_name=pool.service_name, sentinel_manager=pool.sentinel_manager, is_master=pool.is_master)
        del known["connection_pool"]  # each makes its own reference to itself
    kind: type[ConnectionPool] = type(pool) if isinstance(pool, Pool | SentinelConnectionPool) else ConnectionPool
    return kind(**known)
