"""The events that were sent lately, for developers who follow them: `errand listen`.

They are kept only while somebody listens: a capped stream of the latest. A listener that was away comes back with the
position that it has reached and receives what it missed.

Where it is naive: each listener asks Redis a few times a second. They are developers, and few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from redis.asyncio import Redis

from errand.redis.rows import in_turns
from errand.wire import keys

LISTENED_MS = 120_000
"""For so long after a listener has asked events are kept: it may have to connect again."""
MAX_EVENTS, MAX_BYTES = 1_000, 64 * 1024 * 1024
"""A thousand events of a mebibyte would take a gigabyte of Redis: behind a large one fewer are kept."""
KEPT_MS = 3_600_000
PAGE = 10
"""An event may have a mebibyte, and each listener reads it for itself."""
START = "0-0"
MAX_LISTENERS = 20
"""Of one API process."""


class TooManyListeners(Exception):
    """As many clients listen to this process as may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentEvent:
    """One event, as its receivers get it."""

    position: str
    id: str
    """The `webhook-id`."""
    tenant: str | None
    body: dict[str, Any]
    """`type`, `timestamp` and `data`."""


class SentEvents:
    """The latest events of one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._listeners = 0

    def enter(self) -> None:
        """One more client of this process listens, until it calls `leave`. Raises TooManyListeners."""
        if self._listeners >= MAX_LISTENERS:
            raise TooManyListeners
        self._listeners += 1

    def leave(self) -> None:
        """It listens no more."""
        self._listeners -= 1

    async def has_listeners(self) -> bool:
        """True if somebody listens, or has within two minutes."""
        return bool(await self._redis.exists(keys.WEBHOOK_LISTENED))

    async def add(self, event_id: str, body: dict[str, Any], *, tenant: str | None) -> None:
        """Shows an event to all who listen."""
        record = to_json({"id": event_id, "tenant": tenant, "body": body})
        async with self._redis.pipeline(transaction=False) as pipeline:
            most = max(min(MAX_EVENTS, MAX_BYTES // len(record)), 1)
            pipeline.xadd(keys.WEBHOOK_SENT, {"event": record}, maxlen=most, approximate=True)
            pipeline.pexpire(keys.WEBHOOK_SENT, KEPT_MS)
            await pipeline.execute()

    async def listen(self) -> str:
        """Has events kept for the next two minutes; returns the position behind the last one."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.set(keys.WEBHOOK_LISTENED, "1", px=LISTENED_MS)
            pipeline.xrevrange(keys.WEBHOOK_SENT, count=1)
            _, last = await pipeline.execute()
        return last[0][0].decode() if last else START

    async def after(self, position: str) -> tuple[Sequence[SentEvent], str]:
        """Up to ten events behind that position, which `listen` or this has named, and the position behind them."""
        entries = await self._redis.xrange(keys.WEBHOOK_SENT, min=f"({position}", count=PAGE)
        pairs = in_turns(entries, bytes_in=_bytes_of)
        events = [event async for at, fields in pairs if (event := _event(at.decode(), fields)) is not None]
        return events, entries[-1][0].decode() if entries else position


def _bytes_of(entry: tuple[bytes, dict[bytes, bytes]]) -> int:
    return sum(map(len, entry[1].values()))


def _event(position: str, fields: dict[bytes, bytes]) -> SentEvent | None:
    """None for an entry that another program has written."""
    try:
        event = SentEvent(position=position, **from_json(fields.get(b"event", b"")))
        return event if isinstance(event.body["type"], str) else None
    except (LookupError, ValueError, TypeError):
        return None
