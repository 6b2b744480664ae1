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
        self._listener: asyncio.Task[None] | None = None
        self._token = False
        """A token has come that nobody has acted on yet."""
        self._nudged = False
        self._sleeper: asyncio.Future[None] | None = None
        self._awaits_room = False

    async def wait(self, timeout_s: float) -> None:
        """Returns when a token comes, when `nudge` is called, or after `timeout_s` seconds."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        if not self._token and not self._nudged:
            await self._sleep(timeout_s)
        self._token = self._nudged = False

    async def wait_for_room(self, timeout_s: float) -> None:
        """Returns when `make_room` is called, or after `timeout_s`; a token that comes meanwhile is given back."""
        self._awaits_room = True
        try:
            if not self._token:
                await self._sleep(timeout_s)
        finally:
            self._awaits_room = False
        if self._token:
            self._token = False
            with missed():
                await self._redis.lpush(self._key, 1)  # type: ignore[misc]  # redis-py types both its clients

    def nudge(self) -> None:
        """This process itself knows of something to do: ends a wait for work, the next one if none is under way."""
        self._nudged = True
        if not self._awaits_room:
            self._wake()

    def make_room(self) -> None:
        """A slot has become free: ends a wait for room that is under way."""
        if self._awaits_room:
            self._wake()

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def _sleep(self, timeout_s: float) -> None:
        # a bare future and timer: every task more would be a turn of the loop more between an enqueue and its job
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = loop.call_later(timeout_s, self._wake)
        try:
            await self._sleeper
        finally:
            timer.cancel()
            self._sleeper = None

    async def close(self) -> None:
        """Stops listening; a token on its way to a connection that closes stays in Redis."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)

    async def _listen(self) -> None:
        """Until a token comes, or none does, for whatever reason."""
        try:
            self._token = await self._redis.blpop([self._key], timeout=BLOCK_S) is not None  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001  # a hint may be missed for any reason; polling is the promise
            log.debug("no wake-ups for a while", error=str(error))
            await asyncio.sleep(PAUSE_S)  # refused at once again and again, it would keep the loop spinning
        finally:
            self._listener = None
            self._wake()


def _patient_copy(pool: ConnectionPool) -> ConnectionPool:
    """The same connections, without a limit on how long a reply may take."""
    known: dict[str, Any] = {**pool.connection_kwargs, "socket_timeout": None}
    return ConnectionPool(connection_class=pool.connection_class, **known)
