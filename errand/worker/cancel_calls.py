"""Notifies a worker at once that a job it runs is to be cancelled. A hint: what is missed, the heartbeat finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from redis.asyncio import Redis

from errand.redis.outage import Outage
from errand.redis.subscription import Subscription
from errand.wire import keys

PING_EVERY_S = 60.0
"""Seldom, so that an idle worker costs Redis little; the heartbeat finds what a broken connection has missed."""


class CancelCalls:
    """One worker's subscription to the cancels of its queue."""

    def __init__(
        self, redis: Redis, *, queue: str, cancel: Callable[[Iterable[str]], None], missed: Callable[[], None]
    ) -> None:
        """`cancel` is given the ids of the jobs that somebody has asked to cancel.

        `missed` is called if some may have been missed: before the subscription was there, or there again.
        """
        self._channel = keys.cancel_calls(queue)
        # the worker itself logs that Redis is away
        self._subscription = Subscription(
            redis,
            outage=Outage(quiet=True),
            on_message=lambda job_id: cancel([job_id]),
            ping_every_s=PING_EVERY_S,
            started=missed,
        )
        self._listener: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Listens in the background until `close`."""
        await self._subscription.add(self._channel)
        self._listener = asyncio.create_task(self._subscription.listen())

    async def close(self) -> None:
        """Ends the subscription."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
