"""Wakes an idle worker when there is something to do. A hint: polling stays the promise.

An enqueue leaves a token in a list that has none; idle workers block on that list, and Redis gives the token to
the one that has waited longest. An idle worker sends its claim along with the blocking call: Redis makes it in the
moment of the wake-up, and an enqueue is one hop away from its job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis

from errand.leases.leases import Claimed, Leases
from errand.redis.outage import missed
from errand.redis.redis_py import copy_of
from errand.wire import keys

log = structlog.get_logger("errand.worker")


PAUSE_S = 1.0


BLOCK_S = 10
"""How long one blocking call lasts; a new one costs Redis next to nothing."""


OVERDUE_S = 2
"""So much later than it should end, a blocking call is given up: its connection died without a word."""


OWN_LIST_MS = 5_000
"""A worker that has gone must not leave its list behind."""


STOP_LIMIT_S = 1.0
"""How long a stopping worker waits for the claim behind its last wake-up."""


class Wakeups:
    """The wake-ups of one worker. It has a connection of its own, which a blocking call occupies."""

    def __init__(
        self, redis: Redis, *, queue: str, worker: str, leases: Leases, take: Callable[[Claimed, int], None]
    ) -> None:
        """`take` is handed what was claimed at a wake-up, and how much was asked for."""
        self._key = keys.wake(queue)
        self._own_list = keys.own_wakeup(queue, worker)
        self._plain = redis
        self._redis = Redis(connection_pool=copy_of(redis.connection_pool, reply_timeout_s=BLOCK_S + OVERDUE_S))
        self._leases = leases
        self._take = take
        self._listener: asyncio.Task[None] | None = None
        self._interrupting: asyncio.Task[None] | None = None
        self._interrupted: asyncio.Task[None] | None = None
        """The wait that an entry in our own list ends: a second entry would end the next wait too."""
        self.reserved = 0
        """How many slots are kept for the claim that follows the next wake-up."""
        self._token = False
        """A token has come that nobody has acted on yet."""
        self._nudged = False
        self._stopped = False
        self._sleeper: asyncio.Future[None] | None = None
        self._awaits_room = False

    async def wait(self, timeout_s: float, *, reserve: int) -> bool:
        """Returns at a wake-up, when `nudge` is called, or after `timeout_s` seconds.

        True where the queue is to be looked at; False where the wake-up's claim, of up to `reserve` jobs, was made.
        """
        if self._listener is None and not self._stopped:
            self.reserved = reserve
            self._listener = asyncio.create_task(self._listen())
        listener = self._listener
        if not self._token and not self._nudged:
            await self._sleep(timeout_s)
        served = listener is not None and listener is not self._listener and not self._token and not self._nudged
        self._token = self._nudged = False
        return not served

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

    def interrupt(self) -> None:
        """Ends the wait for a wake-up: the claim behind it is made now, and the slots kept for it are used."""
        if self.reserved and self._interrupting is None and self._interrupted is not self._listener:
            self._interrupting = asyncio.create_task(self._interrupt(self._listener))

    async def _interrupt(self, listener: asyncio.Task[None] | None) -> None:
        try:
            with missed():
                async with self._plain.pipeline(transaction=True) as transaction:
                    transaction.lpush(self._own_list, 1)
                    transaction.pexpire(self._own_list, OWN_LIST_MS)
                    await transaction.execute()
                self._interrupted = listener
        finally:
            self._interrupting = None

    def stop(self) -> None:
        """Stops listening: a worker that takes no more jobs must not take tokens from those that do."""
        self._stopped = True
        if self._listener is not None:
            # cut off, it might have been leased jobs that nobody would know of
            if self.reserved:
                self.interrupt()
            else:
                self._listener.cancel()

    async def close(self) -> None:
        """Stops listening and closes the connection."""
        self.stop()
        if self._listener is not None:
            await asyncio.wait({self._listener}, timeout=STOP_LIMIT_S)
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)

    async def _listen(self) -> None:
        """Until a wake-up comes, or none does, for whatever reason."""
        try:
            if self.reserved:
                await self._listen_and_claim()
            else:
                self._token = await self._redis.blpop([self._key], timeout=BLOCK_S) is not None  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001  # a hint may be missed for any reason; polling is the promise
            log.debug("no wake-ups for a while", error=str(error))
            self.reserved = 0
            await asyncio.sleep(PAUSE_S)  # refused at once again and again, it would keep the loop spinning
        finally:
            self._listener = None
            self.reserved = 0
            self._wake()

    async def _listen_and_claim(self) -> None:
        woken = await self._leases.claim_when_woken(self._redis, self._own_list, self.reserved, timeout_s=BLOCK_S)
        if woken.claimed is not None:
            self._take(woken.claimed, self.reserved)
        else:
            self._token = woken.token
        if woken.refused is not None:
            raise woken.refused
