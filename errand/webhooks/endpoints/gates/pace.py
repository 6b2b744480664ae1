"""Keeps to the rate of an endpoint, all workers together: deliveries above it are put back without a try."""

from __future__ import annotations

import random
import time

from redis.asyncio import Redis

from errand.job.control import Snooze
from errand.redis import script
from errand.redis.outage import is_outage
from errand.webhooks.turns.receivers import LATEST_S
from errand.wire import keys

AT_ONCE_S = 1.0
"""What an endpoint may take in this time may also come at once."""
REDIS_WAIT_S = 2.0
"""When a delivery whose rate nobody knows is looked at again."""


class EndpointPace:
    """That of all endpoints, as one worker process asks for it."""

    def __init__(self, redis: Redis) -> None:
        self._pace = script.load(redis, "webhooks/endpoints/gates/pace")
        self._line_s: dict[str, float] = {}
        """When the turn of the last delivery comes that this worker has put back, for each endpoint."""

    async def take(self, endpoint_id: str, *, rate_per_s: float) -> None:
        """Returns if a delivery may be made now. Raises Snooze if not."""
        between_s = 1 / rate_per_s
        try:
            wait_us: int = await self._pace(
                keys=[keys.webhook_pace(endpoint_id)],
                args=[round(between_s * 1e6), round(max(AT_ONCE_S - between_s, 0.0) * 1e6)],
            )
        except Exception as error:
            if not is_outage(error):
                raise
            wait_us = round(REDIS_WAIT_S * 1e6)
        if wait_us > 0:
            name = f"the endpoint {endpoint_id}"
            after_s = self._after_s(endpoint_id, wait_us / 1e6, between_s)
            raise Snooze(f"{name} takes {rate_per_s:g} a second", after_s=after_s, code="endpoint_rate")

    def _after_s(self, endpoint_id: str, wait_s: float, between_s: float) -> float:
        """One after another, so that they do not all come again at once."""
        now_s = time.monotonic()
        line_s = max(self._line_s.get(endpoint_id, 0.0) + between_s, now_s + wait_s)
        if line_s - now_s > LATEST_S:
            return random.uniform(LATEST_S / 2, LATEST_S)  # noqa: S311  # spread
        self._line_s[endpoint_id] = line_s
        return line_s - now_s
