"""What Errand touches of redis-py that redis-py does not promise: this file alone, for redis-py 5.3.

`tests/redis/test_redis_py.py` fails when one of these changes. Relied on are

- `AbstractConnection._reader`, an `asyncio.StreamReader` with its `_buffer`; `_writer`, an `asyncio.StreamWriter`;
  `can_read_destructive`, asked before each call; `send_packed_command` and `read_response`, called for each;
- `ConnectionPool._available_connections`, the idle connections, the one used last at the end;
  `get_available_connection` and `ensure_connection`, the two steps of `get_connection`.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Iterable
from functools import cache
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.connection import HiredisRespSerializer
from redis.exceptions import BusyLoadingError, ConnectionError, ReadOnlyError, RedisError, ResponseError, TimeoutError

NO_MASTER_ANY_MORE = "MASTERDOWN"
"""How the answer of a server starts that has become a replica, beside READONLY; redis-py makes no class of it.

Not UNBLOCKED: a claim may follow the call that was unblocked, and its answer, which says more, is still to come.
"""


class IdleConnections(ConnectionPool):
    """A pool that shows and drops its idle connections."""

    @property
    def has_connected_idle(self) -> bool:
        """The next connection given out is connected already."""
        idle = self._available_connections
        return bool(idle) and bool(idle[-1].is_connected)

    async def take_connection(self) -> AbstractConnection:
        """A connection that is connected. Raises redis' errors."""
        connection: AbstractConnection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection

    async def drop_idle(self) -> None:
        """Closes the connections that nobody uses: their server has fallen silent, or is the wrong one by now."""
        idle, self._available_connections = self._available_connections, []
        await asyncio.gather(*(connection.disconnect(nowait=True) for connection in idle), return_exceptions=True)


def _is_of_a_fallen_server(error: RedisError) -> bool:
    if isinstance(error, ResponseError) and str(error).startswith(NO_MASTER_ANY_MORE):
        return True
    return isinstance(error, ReadOnlyError | BusyLoadingError | TimeoutError)


class Packed(AbstractConnection):
    """Adds to a kind of connection: commands put together by hiredis, and no turn of the loop that is not needed.

    redis-py uses hiredis so in its blocking client alone. A claim or finish has hundreds of arguments; packing them in
    Python took a third of a no-op job's time.
    """

    _reader: Any
    _writer: Any
    pack_in_c = HiredisRespSerializer()
    pool: weakref.ref[IdleConnections] | None = None

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
            await self.connect()  # type: ignore[no-untyped-call]
        elif check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
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
