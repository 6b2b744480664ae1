"""Opens the connections to Redis: Arq's client, our serialisers, and time limits on purpose."""

from __future__ import annotations

from functools import cache
from typing import Any

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.connection import HiredisRespSerializer

from jobs.engine import records

CONNECT_TIMEOUT_S = 1.0


def connect(url: str, *, reply_timeout_s: float | None) -> ArqRedis:
    """A client of the Redis at `url` (`redis://`, `rediss://`, `unix://`); connects at its first use.

    A reply that takes longer than `reply_timeout_s` seconds raises redis' TimeoutError; None waits for ever, which
    only a subscription should.
    """
    pool: ConnectionPool = ConnectionPool.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=reply_timeout_s,
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
    )
    pool.connection_class = _packed_in_c(pool.connection_class)  # type: ignore[arg-type]  # a class hashes as any object
    client = ArqRedis(connection_pool=pool, job_serializer=records.dumps, job_deserializer=records.loads)
    client.auto_close_connection_pool = True
    return client


@cache
def _packed_in_c(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    """The same kind of connection, with commands put together by hiredis.

    redis-py does so in its blocking client alone. A claim or finish has hundreds of arguments; packing them in Python
    took a third of a no-op job's time.
    """

    class Packed(connection_class):  # type: ignore[valid-type, misc]  # a base known only here
        _serializer = HiredisRespSerializer()

        def pack_command(self, *args: Any) -> list[bytes]:
            packed: list[bytes] = self._serializer.pack(*args)
            return packed

        async def can_read_destructive(self) -> bool:
            """What redis-py asks of a connection before each call, without the turn of the event loop it takes there.

            The loop has read what came while the connection lay idle, a server's goodbye included.
            """
            stream = self._reader
            return stream is None or bool(stream._buffer) or stream.at_eof()

    return Packed
