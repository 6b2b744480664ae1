"""Opens the connections to Redis: Arq's client, our serialisers, and time limits on purpose."""

from __future__ import annotations

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool

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
    client = ArqRedis(connection_pool=pool, job_serializer=records.dumps, job_deserializer=records.loads)
    client.auto_close_connection_pool = True
    return client
