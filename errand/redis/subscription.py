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
    """Listens to some channels in the background, and calls `on_message` with each message."""

    def __init__(
        self,
        redis: Redis,
        *,
        outage: Outage,
        on_message: Callable[[str], None],
        ping_every_s: float = PING_EVERY_S,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        """`outage` is this connection's own: it ends whenever something arrives.

        `started` is called each time Redis has confirmed all channels: what was published before may have been missed.
        """
        self._redis = redis
        self._outage = outage
        self._on_message = on_message
        self._started = started
        self._ping_every_s = ping_every_s
        self._channels: set[str] = set()
        self._confirmed: set[str] = set()
        self._live: PubSub | None = None

    async def add(self, *channels: str) -> None:
        """Listens to these channels too, from now on or as soon as Redis is back."""
        self._channels.update(channels)
        if self._live is not None:
            with missed():
                await self._live.subscribe(*channels)

    async def remove(self, *channels: str) -> None:
        """Stops listening to these channels."""
        self._channels.difference_update(channels)
        self._confirmed.difference_update(channels)
        if self._live is not None:
            with missed():
                await self._live.unsubscribe(*channels)

    @property
    def is_confirmed(self) -> bool:
        """Redis has confirmed every channel."""
        return self._channels <= self._confirmed

    async def listen(self) -> None:
        """Listens until it is cancelled, and subscribes again after any error. There must be a channel by then."""
        while True:
            try:
                async with self._redis.pubsub() as live:
                    await self._listen_to(live)
            except Exception as error:  # noqa: BLE001  # a hint may be missed for any reason
                if is_outage(error) and not lacks_right(error):
                    await self._outage.wait_out(error)
                else:
                    log.warning("Redis refuses a subscription: its changes are polled for instead", error=str(error))
                    await asyncio.sleep(REFUSED_PAUSE_S)

    async def _listen_to(self, live: PubSub) -> None:
        asked = set(self._channels)
        await live.subscribe(*asked)
        self._live = live
        try:
            if meanwhile := self._channels - asked:
                await live.subscribe(*meanwhile)
            async for reply in replies(live, ping_every_s=self._ping_every_s):
                self._outage.note_end()
                self._take(reply)
        finally:
            self._live = None
            self._confirmed.clear()

    def _take(self, reply: dict[str, Any]) -> None:
        if (message := text_of(reply)) is not None:
            self._on_message(message)
        elif reply["type"] == "subscribe" and (channel := reply["channel"].decode()) in self._channels:
            self._confirmed.add(channel)
            if self.is_confirmed:
                self._started()
        elif reply["type"] == "unsubscribe":
            self._confirmed.discard(reply["channel"].decode())


async def messages(live: PubSub, *, ping_every_s: float = PING_EVERY_S) -> AsyncGenerator[str | None, None]:
    """Each message as it comes, None for any other reply. Raises redis' TimeoutError if a ping has no reply."""
    async for reply in replies(live, ping_every_s=ping_every_s):
        yield text_of(reply)


def text_of(reply: Mapping[str, Any]) -> str | None:
    """The message; None if the reply is none."""
    # an id that is no text is another program's, and no reason to miss the others
    return reply["data"].decode(errors="replace") if reply["type"] == "message" else None


async def replies(live: PubSub, *, ping_every_s: float) -> AsyncGenerator[dict[str, Any], None]:
    """Every reply on a subscription, as redis-py returns it. Raises its TimeoutError if no reply comes to a ping."""
    pinged = False
    while True:
        reply = await live.get_message(timeout=ping_every_s)
        if reply is not None:
            pinged = False
            yield reply
        elif pinged:
            raise TimeoutError("no answer to a ping")
        else:
            pinged = True
            await live.ping()
