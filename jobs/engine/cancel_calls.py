"""Tells a worker at once that a job it runs is to be cancelled. A hint: the heartbeat reads the promise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog
from redis.asyncio import Redis

from jobs.engine import keys
from jobs.engine.outage import Outage, is_outage
from jobs.engine.wakeups import patient_copy

log = structlog.get_logger("errand.worker")

REFUSED_PAUSE_S = 10.0


class CancelCalls:
    """One worker's subscription, on a connection of its own."""

    def __init__(self, redis: Redis, *, queue: str, outage: Outage, heard: Callable[[Iterable[str]], None]) -> None:
        self._channel = keys.cancel_calls(queue)
        self._redis = Redis(connection_pool=patient_copy(redis.connection_pool, longest_s=None))
        self._heard = heard
        self._outage = outage
        self._listener: asyncio.Task[None] | None = None
        self._closed = False

    def listen(self) -> None:
        """Listens in the background until it is closed."""
        self._closed = False
        self._listener = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Ends the subscription."""
        self._closed = True
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        await self._redis.aclose(close_connection_pool=True)

    async def _listen(self) -> None:
        # not `while True`: the cancellation that ends it may be swallowed, see Worker._poll_iteration
        while not self._closed:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as subscription:
                    await subscription.subscribe(self._channel)
                    async for message in subscription.listen():
                        self._heard([message["data"].decode(errors="replace")])
            except Exception as error:  # noqa: BLE001  # the heartbeat keeps the promise; the next call must be heard
                await self._again_after(error)

    async def _again_after(self, error: Exception) -> None:
        if is_outage(error):
            await self._outage.wait_out(error)
        else:
            log.warning("cancels are not heard, the heartbeat looks for them", error=str(error))
            await asyncio.sleep(REFUSED_PAUSE_S)
