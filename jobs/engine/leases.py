"""Keeps a worker's hold on the jobs it runs, and shows that it lives."""

from __future__ import annotations

from collections.abc import Iterable

from redis.asyncio import Redis

from jobs.engine import keys, script

FORGET_WORKER_S = 3600


class Leases:
    """The leases of one worker, `lease_s` seconds long unless renewed."""

    def __init__(self, redis: Redis, *, worker: str, lease_s: float) -> None:
        self.interval_s = lease_s / 3
        """A heartbeat every third of a lease: two may be lost before the hold is."""
        self._redis = redis
        self._worker = worker
        self._lease_ms = int(lease_s * 1000)
        self._heartbeat = script.load(redis, "heartbeat")

    async def renew(self, job_ids: Iterable[str]) -> int:
        """One heartbeat: renews the leases of these jobs; returns how many were still held."""
        renewed: int = await self._heartbeat(
            keys=[keys.WORKERS, *map(keys.in_progress, job_ids)],
            args=[self._worker, self._lease_ms, FORGET_WORKER_S * 1000],
        )
        return renewed

    async def leave(self) -> None:
        """The worker stops: it is not waited for any more."""
        await self._redis.zrem(keys.WORKERS, self._worker)
