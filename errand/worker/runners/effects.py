"""Keeps the markers of effects (`ctx.once`) in Redis."""

from __future__ import annotations

from functools import partial

from redis.asyncio import Redis

from errand.job.once import LeaseLost, Once
from errand.leases.leases import Claim
from errand.redis import script
from errand.redis.outage import Outage
from errand.wire import codec, keys


class Effects:
    """The effects of the jobs that one worker runs."""

    def __init__(self, redis: Redis, *, queue: str, outage: Outage) -> None:
        self._queue = queue
        self._outage = outage
        self._once = script.load(redis, "worker/runners/effect")

    async def once(self, claim: Claim, name: str) -> Once:
        """The effect `name` of that job, as far as it has come. Waits until Redis answers."""
        _, kept = await self._outage.outlast(partial(self._call, claim, name, b""))

        async def write(state: bytes, *, wait: bool) -> None:
            call = partial(self._call, claim, name, state)
            owned, _ = await (self._outage.outlast(call) if wait else call())
            if not owned:
                raise LeaseLost(f"job {claim.job_id} belongs to another worker now: this attempt must not do '{name}'")

        return Once(name, kept=codec.loads(kept) if kept else {}, write=write)

    async def _call(self, claim: Claim, name: str, state: bytes) -> tuple[int, bytes | None]:
        job_id = claim.job_id
        owned, kept = await self._once(
            keys=[keys.running(self._queue), keys.lease(job_id), keys.tries(job_id), keys.once(job_id)],
            args=[job_id, claim.token, name, state],
        )
        return owned, kept
