"""Opens the connections to Redis: Arq's client, our serialisers, and time limits on purpose."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import parse_url
from redis.exceptions import AuthenticationError

from errand.redis.outage import within
from errand.redis.pool import Pool
from errand.redis.sentinel import SentinelPool, UnknownMaster
from errand.redis_url import SentinelUrl
from errand.wire import codec

CONNECT_TIMEOUT_S = 1.0


class Refused(Exception):
    """Redis, or Sentinel, answers and will not have us: a wrong password, certificate, or master's name."""


def connect(url: str, *, reply_timeout_s: float) -> ArqRedis:
    """A client of the Redis at `url` (`redis[s]://`, `unix://`, `redis[s]+sentinel://`); connects at its first use.

    A reply that takes longer than `reply_timeout_s` seconds raises redis' TimeoutError. Raises ValueError for another
    kind of URL.
    """
    client = ArqRedis(
        connection_pool=_pool_at(url, reply_timeout_s=reply_timeout_s),
        job_serializer=codec.dumps,
        job_deserializer=codec.loads,
    )
    client.auto_close_connection_pool = True
    return client


def _pool_at(url: str, *, reply_timeout_s: float) -> ConnectionPool:
    limits: dict[str, Any] = {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": reply_timeout_s}
    if url.startswith("unix:"):
        return Pool(**limits, **parse_url(url))
    limits["socket_keepalive"] = True
    if SentinelUrl.matches(url):
        return SentinelPool.at(url, **limits)
    known: dict[str, Any] = {**parse_url(url)}
    if url.startswith("rediss:"):
        # redis-py 5 would take any server's certificate of a trusted authority for that of ours
        known["ssl_check_hostname"] = known.get("ssl_check_hostname", True) and known.get("ssl_cert_reqs") != "none"
    return Pool(**limits, **known)


async def check_welcome(redis: ArqRedis, *, within_s: float | None = None) -> None:
    """Asks for an answer, to whatever; raises Refused where one comes that no waiting will change.

    Otherwise redis' errors where Redis is away, or does not answer `within_s` seconds.
    """
    try:
        await within(within_s, redis.execute_command("PING"))  # type: ignore[no-untyped-call]
    except Exception as error:
        if reason := _refusal_in(error):
            raise Refused(reason) from error
        raise


def _refusal_in(error: BaseException) -> str | None:
    for cause in _chain(error):
        if isinstance(cause, AuthenticationError):
            return f"Redis refuses the user or password: {cause}"
        if isinstance(cause, UnknownMaster):
            return str(cause)
        # not the end of a connection: a server that is killed during the handshake comes back
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return f"no TLS connection can be made: {cause}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
