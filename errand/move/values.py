"""Copies and compares what a key holds, in parts, whatever its type and size; the servers may be of any two versions.

Not by DUMP and RESTORE: an older server does not take what a newer one has dumped, and Valkey's form is not Redis'.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from arq.connections import ArqRedis

from errand.redis.redis_py import unread_pipeline

CHUNK = 1_000
"""So many elements are read at once."""

AT_ONCE_BYTES = 16 * 1024 * 1024
"""Of strings, that are read at once: five hundred results may have gigabytes. One that is larger is read alone."""

EXPIRED = -2
"""What PTTL answers for a key that is not there any more."""

PART = b"errand:move:part:"
"""What the copy of a key is called until it is whole."""

Call = Sequence[Any]

ADD = {b"list": "RPUSH", b"set": "SADD", b"zset": "ZADD", b"hash": "HSET"}


async def ask(redis: ArqRedis, calls: Sequence[Call]) -> list[Any]:
    """The answers in one round trip, as Redis gives them. Raises redis' errors."""
    if not calls:
        return []
    async with unread_pipeline(redis) as pipeline:
        for call in calls:
            pipeline.execute_command(*call)
        return list(await pipeline.execute())


async def copy_strings(source: ArqRedis, target: ArqRedis, keys: Sequence[bytes]) -> int:
    """Copies those strings, with their time to live; returns how many bytes they are."""
    return sum([await _copy_strings(source, target, part) async for part in in_parts(source, keys)])


async def in_parts(redis: ArqRedis, keys: Sequence[bytes]) -> AsyncIterator[list[bytes]]:
    """The names of those strings, some at a time: so many as may be read at once."""
    part: list[bytes] = []
    left_bytes = AT_ONCE_BYTES
    for key, size_bytes in zip(keys, await ask(redis, [("STRLEN", key) for key in keys]), strict=True):
        if part and size_bytes > left_bytes:
            yield part
            part, left_bytes = [], AT_ONCE_BYTES
        part.append(key)
        left_bytes -= size_bytes
    if part:
        yield part


async def _copy_strings(source: ArqRedis, target: ArqRedis, keys: Sequence[bytes]) -> int:
    values = await ask(source, [("GET", key) for key in keys])
    ttls_ms = await ask(source, [("PTTL", key) for key in keys])
    rows = zip(keys, values, ttls_ms, strict=True)
    known = [row for row in rows if row[1] is not None and row[2] != EXPIRED]
    await ask(target, [("SET", key, value, *(("PX", max(ttl, 1)) if ttl >= 0 else ())) for key, value, ttl in known])
    return sum(len(value) for _, value, _ in known)


async def copy_collection(source: ArqRedis, target: ArqRedis, key: bytes, kind: bytes) -> int:
    """Copies a list, set, hash, sorted set or stream; it appears as a whole. Returns how many bytes it holds."""
    part, copied = PART + key, 0
    await ask(target, [("DEL", part)])
    async for elements in chunks(source, key, kind):
        await ask(target, _writes(part, kind, elements))
        copied += sum(len(element) for element in _flat(elements))
    (ttl_ms,) = await ask(source, [("PTTL", key)])
    if ttl_ms == EXPIRED:
        await ask(target, [("DEL", part)])
    elif copied:
        expiry = [("PEXPIRE", part, max(ttl_ms, 1))] if ttl_ms >= 0 else []
        await ask(target, [*expiry, ("RENAME", part, key)])
    return copied


async def fingerprint(redis: ArqRedis, key: bytes, kind: bytes) -> object:
    """Equal for two keys that hold the same."""
    if kind in (b"set", b"hash"):
        return frozenset([_digest(row) async for rows in chunks(redis, key, kind) for row in _rows(rows, kind)])
    digest = hashlib.sha256()
    async for elements in chunks(redis, key, kind):
        for element in _flat(_as_numbers(elements) if kind == b"zset" else elements):
            digest.update(b"%d:%b" % (len(element), element))
    return digest.digest()


async def chunks(redis: ArqRedis, key: bytes, kind: bytes) -> AsyncIterator[list[Any]]:
    """The elements, at most some thousands at once: flat, or `[id, [name, value, …]]` of a stream."""
    match kind:
        case b"list" | b"zset":
            read = _by_rank(redis, key, kind)
        case b"set" | b"hash":
            read = _by_cursor(redis, key, kind)
        case b"stream":
            read = _by_id(redis, key)
        case _:
            raise ValueError(f"{key.decode(errors='replace')} is a {kind.decode()}, which Errand does not keep")
    async for elements in read:
        if elements:
            yield elements


async def _by_rank(redis: ArqRedis, key: bytes, kind: bytes) -> AsyncIterator[list[Any]]:
    command, rest = ("LRANGE", ()) if kind == b"list" else ("ZRANGE", ("WITHSCORES",))
    first = 0
    while True:
        (elements,) = await ask(redis, [(command, key, first, first + CHUNK - 1, *rest)])
        yield elements
        if not elements:
            return
        first += CHUNK


async def _by_cursor(redis: ArqRedis, key: bytes, kind: bytes) -> AsyncIterator[list[Any]]:
    cursor = b"0"
    while True:
        ((cursor, elements),) = await ask(
            redis, [("SSCAN" if kind == b"set" else "HSCAN", key, cursor, "COUNT", CHUNK)]
        )
        yield elements
        if cursor == b"0":
            return


async def _by_id(redis: ArqRedis, key: bytes) -> AsyncIterator[list[Any]]:
    after = b"-"
    while True:
        (entries,) = await ask(redis, [("XRANGE", key, after, "+", "COUNT", CHUNK)])
        yield entries
        if not entries:
            return
        after = b"(" + entries[-1][0]


def _writes(key: bytes, kind: bytes, elements: list[Any]) -> list[Call]:
    """The commands that add those elements."""
    if kind == b"stream":
        return [("XADD", key, entry_id, *fields) for entry_id, fields in elements]
    if kind == b"zset":
        elements = [part for member, score in _pairs(elements) for part in (score, member)]
    return [(ADD[kind], key, *elements)]


def _as_numbers(elements: list[bytes]) -> list[bytes]:
    """A sorted set's elements with scores written alike: Redis 7.0 gives more digits of a fraction than Valkey does."""
    return [part for member, score in _pairs(elements) for part in (member, repr(float(score)).encode())]


def _rows(elements: list[bytes], kind: bytes) -> list[tuple[bytes, ...]]:
    return [(element,) for element in elements] if kind == b"set" else _pairs(elements)


def _pairs(elements: list[bytes]) -> list[tuple[bytes, ...]]:
    return list(zip(elements[::2], elements[1::2], strict=True))


def _flat(elements: list[Any]) -> list[bytes]:
    return [part for entry in elements for part in ([entry] if isinstance(entry, bytes) else _flat(entry))]


def _digest(row: Sequence[bytes]) -> bytes:
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in row)).digest()
