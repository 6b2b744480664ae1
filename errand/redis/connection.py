"""Opens the connections to Redis: Arq's client, our serialisers, and time limits on purpose."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from arq.connections import ArqRedis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from errand.redis.cluster.nodes import NoCluster
from errand.redis.cluster.pool import ClusterPool
from errand.redis.outage import within
from errand.redis.redis_py import Pool
from errand.redis.rights import lacking, missing_rights
from errand.redis.sentinel import SentinelPool, UnknownMaster
from errand.redis_url import RedisUrl
from errand.wire import codec, keys
from errand.wire.move_record import MoveRecord

CONNECT_TIMEOUT_S = 1.0


class Refused(Exception):
    """Redis, or Sentinel, answers and refuses us: a wrong password, certificate, or master's name."""


def connect(url: str, *, reply_timeout_s: float, name: str | None = None, partition: int = 0) -> ArqRedis:
    """A client of the Redis at `url` (`redis[s]://`, `unix://`, `redis[s]+sentinel://`, `redis[s]+cluster://`).

    It connects at its first use.

    A reply that takes longer than `reply_timeout_s` seconds raises redis' TimeoutError. Redis lists its connections
    under `name`. Only in a cluster there are partitions besides 0. Raises ValueError for any other URL, or one with an
    unknown option.
    """
    client = ArqRedis(
        connection_pool=_pool_at(RedisUrl.parse(url), reply_timeout_s=reply_timeout_s, name=name, partition=partition),
        job_serializer=codec.dumps,
        job_deserializer=codec.loads,
    )
    client.auto_close_connection_pool = True
    return client


def _pool_at(url: RedisUrl, *, reply_timeout_s: float, name: str | None, partition: int) -> Pool:
    limits: dict[str, Any] = {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": reply_timeout_s}
    if name is not None:
        limits["client_name"] = name
    if url.socket:
        return Pool(UnixDomainSocketConnection, path=url.socket, **limits, **url.servers.options)
    limits["socket_keepalive"] = True
    if url.by_sentinel:
        return SentinelPool.at(url, **limits)
    if url.by_cluster:
        return ClusterPool.at(url, partition=partition, **limits)
    ((host, port),) = url.addresses
    kind = SSLConnection if url.servers.tls else Connection
    return Pool(kind, host=host, port=port, **limits, **url.servers.options)


async def check_welcome(redis: ArqRedis, *, within_s: float | None = None) -> None:
    """Asks Redis whether it lets us in and do our work. Raises Refused if it does not and no waiting will change that.

    So it is if its jobs are on their way to another server, or those of another to this one.

    Raises redis' errors if Redis is away, or does not answer within `within_s` seconds.
    """
    try:
        await within(within_s, redis.execute_command("PING"))  # type: ignore[no-untyped-call]
        missing = await within(within_s, missing_rights(redis))
        moving = None if missing else await _moving(redis, within_s=within_s)
    except Exception as error:
        if reason := _refusal_in(error):
            raise Refused(reason) from error
        raise
    if missing:
        raise Refused(lacking(missing))
    if moving is not None:
        with suppress(ValueError):  # another program's
            raise Refused(MoveRecord.parse(moving).in_words)


async def _moving(redis: ArqRedis, *, within_s: float | None) -> bytes | None:
    """What the server says of a move of its jobs.

    Asked for together with another key, which a cluster refuses if it is spoken with as if it were one server.
    """
    record, _ = await within(within_s, redis.execute_command("MGET", keys.MOVE, keys.NEVER))  # type: ignore[no-untyped-call]
    return record  # type: ignore[no-any-return]  # redis-py leaves it untyped


def _refusal_in(error: BaseException) -> str | None:
    for cause in _chain(error):
        if isinstance(cause, NoPermissionError):
            return f"Redis refuses what Errand needs: {cause}"
        if isinstance(cause, AuthenticationError):
            return f"Redis refuses the user or password: {cause}"
        if isinstance(cause, UnknownMaster | NoCluster):
            return str(cause)
        if isinstance(cause, ResponseError) and str(cause).startswith("CROSSSLOT"):
            return "the server is a node of a cluster: let REDIS_URL begin with redis+cluster:// or rediss+cluster://"
        # not the end of a connection: a server that is killed during the handshake comes back
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return f"no TLS connection can be made: {cause}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
