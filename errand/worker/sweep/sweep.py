"""A worker's look, every half minute, for what other processes have left undone in its queue."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog
from redis.asyncio import Redis

from errand.leases.heartbeat import Heartbeat
from errand.redis import script
from errand.redis.repair import repairing
from errand.wire import keys
from errand.worker.hooks.dead import DeadHooks

log = structlog.get_logger("errand.worker")


EVERY_S = 30.0
"""Nothing here is in a hurry: the promise is that it is done at all."""


MAX_LOOKS = 200
"""About as many jobs are looked at in one call: Redis answers nobody else meanwhile."""


class Sweep:
    """The looks of one worker."""

    def __init__(self, redis: Redis, *, queue: str, heartbeat: Heartbeat, dead_hooks: DeadHooks) -> None:
        self._redis = redis
        self._heartbeat = heartbeat
        self._dead_hooks = dead_hooks
        self._queue = queue
        self._needed = script.load(redis, "worker/sweep/needed")
        self._stopped: bytes | str = "0"
        """Where the last look at needed jobs has stopped, as SSCAN says it."""
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Looks for the first time after a while, then again and again until `stop`."""
        self._looking = asyncio.create_task(self._look_again_and_again())

    async def stop(self) -> None:
        """Ends the looks."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def look(self) -> None:
        """Looks once. Raises redis' errors."""
        await self._note_ends()
        await self._dead_hooks.call_missed()

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                if self._heartbeat.is_something_to_sweep:
                    await self.look()
            except Exception as error:  # noqa: BLE001  # the loop of the worker sorts what Redis answers
                log.debug("what others have left undone could not be looked for", error=str(error))

    async def _note_ends(self) -> None:
        """Reports the ends of jobs to those that wait for them, if a stock worker or an older one has ended them."""
        called = partial(self._needed, keys=[keys.needed(self._queue)], args=[self._stopped, MAX_LOOKS])
        self._stopped, noted = await repairing(self._redis, self._queue, called)
        for job_id in noted:
            log.warning("a worker has not reported the end of a job that others wait for", job_id=job_id.decode())
