"""Wakes an idle worker when there is something to do. A hint: what is missed, the next poll finds.

An enqueue puts a token into a list if the list has none. Idle workers block on that list, and Redis gives the token to
the one that has waited longest. An idle worker sends its claim along with the blocking call: Redis makes the claim at
the moment of the wake-up, so that a job starts one hop after its enqueue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis

from errand.leases.leases import Claimed, Leases
from errand.redis.outage import missed, within
from errand.redis.redis_py import copy_of
from errand.wire import keys

log = structlog.get_logger("errand.worker")


PAUSE_S = 1.0
"""The wait after a blocking call that failed: refused at once again and again, it would keep the loop spinning."""


BLOCK_S = 10
"""How long one blocking call lasts; a new one costs Redis almost nothing."""


OVERDUE_S = 2
"""A blocking call that is this much overdue is given up: its connection is dead, and nothing has said so."""


OWN_LIST_MS = 5_000
"""A worker's own list expires: a worker that dies must not leave it behind."""


STOP_LIMIT_S = 1.0
"""How long a stopping worker waits for the claim behind its last wake-up."""


class Wakeups:
    """The wake-ups of one worker, on a connection of their own: a blocking call occupies it."""

    def __init__(
        self, redis: Redis, *, queue: str, worker: str, leases: Leases, take: Callable[[Claimed, int], None]
    ) -> None:
        """`take` is given the jobs claimed at a wake-up, and how many the claim asked for."""
        self._key = keys.wake(queue)
        self._own_list = keys.own_wakeup(queue, worker)
        self._plain = redis
        self._redis = Redis(connection_pool=copy_of(redis.connection_pool, reply_timeout_s=BLOCK_S + OVERDUE_S))
        self._leases = leases
        self._take = take
        self._listener: asyncio.Task[None] | None = None
        self._interrupting: asyncio.Task[None] | None = None
        self.reserved = 0
        """How many slots are kept for the claim that follows the next wake-up."""
        self._token = False
        """A token has come, and the worker has not looked at the queue since."""
        self._nudged = False
        self._stopped = False
        self._sleeper: asyncio.Future[None] | None = None
        self._awaits_room = False

    async def wait(self, timeout_s: float, *, reserve: int) -> bool:
        """Returns at a wake-up, when `nudge` is called, or after `timeout_s` seconds.

        True if the queue is to be looked at; False if the wake-up's claim, of up to `reserve` jobs, has done that.
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
        """Returns when `make_room` is called, or after `timeout_s` seconds; gives back a token that comes meanwhile."""
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
        """Ends the wait for work, or the next one if none is under way: this process knows of something to do."""
        self._nudged = True
        if not self._awaits_room:
            self._wake()

    def make_room(self) -> None:
        """Ends the wait for room, if one is under way: a slot is free."""
        if self._awaits_room:
            self._wake()

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    async def _sleep(self, timeout_s: float) -> None:
        # a bare future and timer: each further task would add a turn of the loop between an enqueue and its job
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = loop.call_later(timeout_s, self._wake)
        try:
            await self._sleeper
        finally:
            timer.cancel()
            self._sleeper = None

    def interrupt(self) -> None:
        """Ends the wait for a wake-up: Redis makes the claim behind it now, and the slots kept for it are used."""
        if self.reserved and self._interrupting is None:
            self._interrupting = asyncio.create_task(self._interrupt())

    async def _interrupt(self) -> None:
        try:
            with missed():
                async with self._plain.pipeline(transaction=True) as transaction:
                    transaction.lpush(self._own_list, 1)
                    transaction.pexpire(self._own_list, OWN_LIST_MS)
                    await transaction.execute()
        finally:
            self._interrupting = None

    def stop(self) -> None:
        """Stops listening: a worker that takes no more jobs must not take tokens from workers that do."""
        self._stopped = True
        if self._listener is not None:
            # not cancelled: Redis may have leased it jobs, which nobody would know of
            if self.reserved:
                self.interrupt()
            else:
                self._listener.cancel()

    async def close(self) -> None:
        """Stops listening, closes the connection and removes the worker's own list."""
        self.stop()
        if ending := [task for task in (self._listener, self._interrupting) if task is not None]:
            await asyncio.wait(ending, timeout=STOP_LIMIT_S)
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)
        with missed():
            # a wake-up may have ended the wait in place of the entry that was to do so
            await within(STOP_LIMIT_S, self._remove_own_list())

    async def _remove_own_list(self) -> None:
        await self._plain.delete(self._own_list)

    async def _listen(self) -> None:
        """Waits for one wake-up; ends as well if none comes, for whatever reason."""
        try:
            if self.reserved:
                await self._listen_and_claim()
            else:
                self._token = await self._redis.blpop([self._key], timeout=BLOCK_S) is not None  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001  # a hint may be missed for any reason: polls go on
            log.debug("no wake-ups for a while", error=str(error))
            self.reserved = 0
            await asyncio.sleep(PAUSE_S)
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
