"""Which rights the user of a Redis lacks: asked at each start, before a job meets the first of them.

A script that may not run one of its commands would stop in the middle of its work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ReadOnlyError

from errand.redis.redis_py import key_prefix_of, unread_pipeline

KEYS = ("arq:*", "errand:*")
CHANNELS = "errand:*"


CALLS = """
    bitfield K get u8 0
    blpop K 1; decr K; del K; eval s 0; evalsha s 0; exists K; get K; getex K; getrange K 0 1; hdel K f; hexists K f
    hget K f; hgetall K; hincrby K f 1; hkeys K; hlen K; hmget K f; hrandfield K; hset K f v; hsetnx K f v; incr K
    lindex K 0; llen K; ltrim K 0 1
    lpush K v; lrange K 0 1; lset K 0 v; memory usage K; mget K; persist K; pexpire K 1; pexpiretime K
    ping; psetex K 1 v; pttl K
    publish K m; rpush K v; sadd K v; scard K; script load s; set K v; sismember K v; smembers K
    srandmember K 1; srem K v; sscan K 0; subscribe K
    time; type K; unsubscribe K; xadd K * f v; xlen K; xrange K - +; xrevrange K + -; xtrim K maxlen 0; zadd K 1 v
    zcard K; zcount K 0 1
    zlexcount K - +; zrange K 0 1; zrangebylex K - +; zrangebyscore K 0 1; zrem K v; zremrangebyrank K 0 1
    zremrangebyscore K 0 1
    zmscore K v; zrank K v; zrevrange K 0 1; zrevrangebyscore K 1 0; zscore K v
"""
"""Every command that a script or a client uses, with arguments that it takes; K stands for a key or channel.

`multi`, `exec` and `discard` are needed as well. INFO, CONFIG GET, ROLE and WAIT are used if they are allowed.
"""


async def missing_rights(redis: Redis) -> list[str]:
    """What to give to the user, as `ACL SETUSER` takes it: `+evalsha`, `~errand:*`, `&errand:*`; empty if all is well.

    Nothing is done to Redis: the calls stand in a transaction that is discarded. Of a replica, which does none of them,
    nothing is known. Raises redis' errors if Redis is away.
    """
    prefix = key_prefix_of(redis)
    first = await _answers(redis, [("MULTI",), ("EXEC",), ("MULTI",), ("DISCARD",), ("DEL", _matching(CHANNELS))])
    missing = _missing_in(first, prefix)
    # without these the calls would be done; a replica refuses them even if its user has the rights, and is given up
    if missing or isinstance(first[-1][1], ReadOnlyError):
        return missing
    return _missing_in(await _answers(redis, [("MULTI",), *_calls(), ("DISCARD",)]), prefix)


def lacking(rights: Sequence[str]) -> str:
    """A line for people."""
    return f"its user lacks rights that Errand needs: ACL SETUSER … {' '.join(rights)}"


def _calls() -> Iterator[Sequence[str]]:
    for pattern in KEYS:
        yield ("GET", _matching(pattern))
        yield ("PERSIST", _matching(pattern))
    for call in re.split("[;\n]", CALLS.strip()):
        yield [_matching(CHANNELS) if word == "K" else word for word in call.split()]


def _matching(pattern: str) -> str:
    return pattern.replace("*", "rights")


async def _answers(redis: Redis, calls: Sequence[Sequence[str]]) -> list[tuple[Sequence[str], Any]]:
    """Each call with its answer or error."""
    async with unread_pipeline(redis) as pipeline:
        for call in calls:
            pipeline.execute_command(*call)
        return list(zip(calls, await pipeline.execute(raise_on_error=False), strict=True))


def _missing_in(answers: Sequence[tuple[Sequence[str], Any]], prefix: str) -> list[str]:
    """`prefix`: what keys and channels have before them on the server."""
    refused = [(call, str(error)) for call, error in answers if isinstance(error, NoPermissionError)]
    return list(dict.fromkeys(_right_for(call, words, prefix) for call, words in refused))


def _right_for(call: Sequence[str], words: str, prefix: str) -> str:
    """By the answers of Redis 7 and Valkey 9: to run a command, or to access a key or a channel."""
    if command := re.search(r"run the '([^']+)' command", words):
        return f"+{command[1]}"
    if "channel" in words:
        return f"&{prefix}{CHANNELS}"
    # in a cluster a script's call has a key of its own
    pattern = next((pattern for pattern in KEYS if _matching(pattern) in call), CHANNELS)
    return f"~{prefix}{pattern}"
