"""Receives what Redis publishes, and survives faults of the connection; a push is a hint, so a gap is no fault.

A subscription reads and never writes: it would not notice a peer that vanished without closing. It is pinged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import TimeoutError

from errand.redis.outage import Outage, is_outage, lacks_right, missed

log = structlog.get_logger("errand.redis")


PING_EVERY_S = 10.0
"""A subscription that is silent for so long is pinged; one that stays silent for as long again has ended."""


REFUSED_PAUSE_S = 10.0


class Subscription:
    """Some channels, heard in the background: `hear` is called with each message."""

    def __init__(
        self,
        redis: Redis,
        *,
        outage: Outage,
        hear: Callable[[str], None],
        ping_every_s: float = PING_EVERY_S,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        """`outage` is this connection's own: it ends whenever something is heard.

        `started` is called whenever all channels are heard from now on: what was published before may have been missed.
        """
        self._redis = redis
        self._outage = outage
        self._hear = hear
        self._started = started
        self._ping_every_s = ping_every_s
        self._channels: set[str] = set()
        self._confirmed: set[str] = set()
        self._live: PubSub | None = None

    async def add(self, *channels: str) -> None:
        """Hears these too, from now on or as soon as Redis is back."""
        self._channels.update(channels)
        if self._live is not None:
            with missed():
                await self._live.subscribe(*channels)

    async def remove(self, *channels: str) -> None:
        """Hears these no more."""
        self._channels.difference_update(channels)
        self._confirmed.difference_update(channels)
        if self._live is not None:
            with missed():
                await self._live.unsubscribe(*channels)

    @property
    def hears_all(self) -> bool:
        """Redis has confirmed every channel."""
        return self._channels <= self._confirmed

    async def listen(self) -> None:
        """Until it is cancelled; there must be a channel by then. Whatever Redis answers, it is tried again."""
        while True:
            try:
                async with self._redis.pubsub() as live:
                    await self._listen_to(live)
            except Exception as error:  # noqa: BLE001  # a hint may be missed for any reason
                if is_outage(error) and not lacks_right(error):
                    await self._outage.wait_out(error)
                else:
                    log.warning("a subscription is refused: changes are looked for instead", error=str(error))
                    await asyncio.sleep(REFUSED_PAUSE_S)

    async def _listen_to(self, live: PubSub) -> None:
        asked = set(self._channels)
        await live.subscribe(*asked)
        self._live = live
        try:
            if meanwhile := self._channels - asked:
                await live.subscribe(*meanwhile)
            async for heard in replies(live, ping_every_s=self._ping_every_s):
                self._outage.note_end()
                self._take(heard)
        finally:
            self._live = None
            self._confirmed.clear()

    def _take(self, heard: dict[str, Any]) -> None:
        if (message := text_of(heard)) is not None:
            self._hear(message)
        elif heard["type"] == "subscribe" and (channel := heard["channel"].decode()) in self._channels:
            self._confirmed.add(channel)
            if self.hears_all:
                self._started()
        elif heard["type"] == "unsubscribe":
            self._confirmed.discard(heard["channel"].decode())


async def messages(live: PubSub, *, ping_every_s: float = PING_EVERY_S) -> AsyncGenerator[str | None, None]:
    """Each message as it comes, and None for each other sign of life; redis' TimeoutError where there is none."""
    async for heard in replies(live, ping_every_s=ping_every_s):
        yield text_of(heard)


def text_of(heard: Mapping[str, Any]) -> str | None:
    """The message; None where it is something else that was heard."""
    # an id that is no text is nobody's whom we know, and no reason to be deaf to the others
    return heard["data"].decode(errors="replace") if heard["type"] == "message" else None


async def replies(live: PubSub, *, ping_every_s: float) -> AsyncGenerator[dict[str, Any], None]:
    """All that Redis says on a subscription, as redis-py returns it; its TimeoutError where nothing comes any more."""
    pinged = False
    while True:
        heard = await live.get_message(timeout=ping_every_s)
        if heard is not None:
            pinged = False
            yield heard
        elif pinged:
            raise TimeoutError("no answer to a ping")
        else:
            pinged = True
            await live.ping()
