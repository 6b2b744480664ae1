"""Addresses that get no mail: they bounced, somebody complained or unsubscribed, or an operator said so.

Sending on to them costs the sender's reputation, and with it the letters of everybody else.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import Redis

from errand.mail.writing.address import ascii_domain
from errand.redis.repair import repairing
from errand.settings import MAIL_QUEUE
from errand.wire import codec, keys
from errand.wire.limits import shown_ms

Reason = Literal["hard_bounce", "complaint", "unsubscribe", "manual"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """One address, and why."""

    address: str
    reason: Reason
    detail: str
    """What the mail server or the caller said."""
    job_id: str | None
    """The job whose letter bounced."""
    at_ms: int


class Suppressions:
    """All of them, in Redis; never expired."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def find(self, addresses: Sequence[str]) -> list[Suppression]:
        """Those of the addresses that are suppressed."""
        names = [normal(address) for address in addresses]
        # no letter is to fail because another program has written over all of them
        kept: list[bytes | None] = await self._repairing(lambda: self._kept(names))
        return [_read(name, body) for name, body in zip(names, kept, strict=True) if body]

    async def _kept(self, names: list[str]) -> list[bytes | None]:
        kept: list[bytes | None] = await self._redis.hmget(keys.SUPPRESSIONS, names)  # type: ignore[misc]  # types both its clients
        return kept

    async def add(self, address: str, reason: Reason, *, detail: str = "", job_id: str | None = None) -> Suppression:
        """Suppresses it from now on; a newer reason takes the place of an older one."""
        name, at_ms = normal(address), int(time.time() * 1000)
        suppression = Suppression(address=name, reason=reason, detail=detail[:500], job_id=job_id, at_ms=at_ms)
        fields = {"reason": reason, "detail": suppression.detail, "job_id": job_id, "at_ms": at_ms}
        await self._repairing(lambda: self._write(name, codec.dumps(fields), at_ms))
        return suppression

    async def _write(self, name: str, body: bytes, at_ms: int) -> None:
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(keys.SUPPRESSIONS, name, body)  # type: ignore[arg-type]  # bytes are fine
            pipeline.zadd(keys.SUPPRESSED_AT, {name: at_ms})
            await pipeline.execute()

    async def _repairing(self, call: Callable[[], Awaitable[Any]]) -> Any:
        return await repairing(self._redis, keys.queue(MAIL_QUEUE), call)

    async def remove(self, address: str) -> bool:
        """False if it was not suppressed."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hdel(keys.SUPPRESSIONS, normal(address))
            pipeline.zrem(keys.SUPPRESSED_AT, normal(address))
            removed, _ = await pipeline.execute()
        return bool(removed)

    async def page(self, *, limit: int, after: tuple[int, str] | None = None) -> list[Suppression]:
        """The newest first; `after`: those behind that time and address."""
        newest = "+inf" if after is None else str(after[0])
        rest: list[str] = []
        # of one millisecond there may be many: those up to the position are left out
        for start in itertools.count(0, limit):
            names = await self._redis.zrange(
                keys.SUPPRESSED_AT,
                newest,  # type: ignore[arg-type]  # the ends of a range of scores may be texts
                "-inf",  # type: ignore[arg-type]
                desc=True,
                byscore=True,
                offset=start,
                num=limit,
                withscores=True,
            )
            rest += [_text(name) for name, at_ms in names if after is None or (shown_ms(at_ms), _text(name)) < after]
            if len(names) < limit or len(rest) >= limit:
                break
        return await self.find(rest[:limit]) if rest else []


def normal(address: str) -> str:
    """As addresses are compared: the domain as mail servers look it up, and no capitals.

    They may matter in a local part, and hardly ever do. A bounce names `xn--…`, a form the letters of that domain.
    """
    stripped = address.strip()
    try:
        return ascii_domain(stripped).casefold()
    except ValueError:  # no address: a path of the API may hold anything
        return stripped.casefold()


def _text(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def _read(name: str, body: bytes) -> Suppression:
    """One that another program has written over is kept from mail, too: it was suppressed."""
    try:
        fields: dict[str, Any] = codec.loads(body)
        return Suppression(address=name, **fields)
    except (ValueError, TypeError):
        return Suppression(address=name, reason="manual", detail="what was kept cannot be read", job_id=None, at_ms=0)
