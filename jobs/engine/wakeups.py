"""Wakes an idle worker when there is something to do. A hint: polling stays the promise.

Whoever enqueues leaves a token in a list where none is; idle workers block on that list, and Redis gives the token to
the one that has waited longest.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from redis.asyncio import ConnectionPool, Redis

from jobs.engine import keys
from jobs.engine.outage import missed

log = structlog.get_logger("errand.worker")

PAUSE_S = 1.0
BLOCK_S = 30
"""How long one blocking call lasts; a new one costs Redis next to nothing."""


class Wakeups:
    """The wake-ups of one worker. It has a connection of its own, which a blocking call occupies."""

    def __init__(self, redis: Redis, *, queue: str) -> None:
        self._key = keys.wake(queue)
        self._redis = Redis(connection_pool=_patient_copy(redis.connection_pool))
        self._listener: asyncio.Task[bool] | None = None

    async def wait(self, timeout_s: float, nudge: asyncio.Event) -> None:
        """Returns when a token comes, when `nudge` is set, or after `timeout_s` seconds."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        nudged = asyncio.create_task(nudge.wait())
        try:
            await asyncio.wait({self._listener, nudged}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudged.cancel()
        if self._listener.done():
            self._listener = None

    async def wait_for_room(self, room: asyncio.Event, timeout_s: float) -> None:
        """Returns when `room` is set, or after `timeout_s`; a token that comes meanwhile is given back, for others."""
        waiting = asyncio.create_task(room.wait())
        ears = {waiting} if self._listener is None else {waiting, self._listener}
        try:
            await asyncio.wait(ears, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._listener is not None and self._listener.done():
            listener, self._listener = self._listener, None
            if listener.result():
                with missed():
                    await self._redis.lpush(self._key, 1)  # type: ignore[misc]  # redis-py types both its clients

    async def close(self) -> None:
        """Stops listening; a token on its way to a connection that closes stays in Redis."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)

    async def _listen(self) -> bool:
        """True when a token came; False when none did, for whatever reason."""
        try:
            return await self._redis.blpop([self._key], timeout=BLOCK_S) is not None  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001  # a hint may be missed for any reason; polling is the promise
            log.debug("no wake-ups for a while", error=str(error))
            await asyncio.sleep(PAUSE_S)  # refused at once again and again, it would keep the loop spinning
            return False


def _patient_copy(pool: ConnectionPool) -> ConnectionPool:
    """The same connections, without a limit on how long a reply may take."""
    known: dict[str, Any] = {**pool.connection_kwargs, "socket_timeout": None}
    return ConnectionPool(connection_class=pool.connection_class, **known)
