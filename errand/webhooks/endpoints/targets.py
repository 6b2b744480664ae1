"""Endpoints as targets of deliveries, each made once for as long as its endpoint stays as it is."""

from __future__ import annotations

import random
import time
from functools import partial

from errand.job.control import Cancel, Retry, Snooze
from errand.redis.outage import is_outage
from errand.webhooks.endpoints.endpoint import Endpoint
from errand.webhooks.endpoints.store import MAX_ENDPOINTS, Endpoints
from errand.webhooks.endpoints.tls import context_of
from errand.webhooks.schedule import SCHEDULE_S
from errand.webhooks.signing import Signer
from errand.webhooks.target import Target
from errand.webhooks.turns.receivers import LATEST_S

REDIS_WAIT_S = 2.0
"""When a delivery to an endpoint of which Redis did not say anything is looked at again."""


class EndpointTargets:
    """Those of one worker process. To make one anew for each delivery took 6 % of its time."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._kept: dict[str, tuple[str, Target]] = {}
        """By id, with the revision of the endpoint that it was made of."""

    async def of(self, endpoint_id: str) -> Target:
        """The endpoint as it is now, whatever it was when the event was put. Raises Cancel if it receives nothing,
        Snooze if nothing now or Redis is away, Retry if nobody here can say."""
        try:
            return await self._of(endpoint_id)
        except Exception as error:
            if not is_outage(error):
                raise
            raise Snooze("Redis was away", after_s=REDIS_WAIT_S) from None

    async def _of(self, endpoint_id: str) -> Target:
        endpoint = await self._endpoints.get(endpoint_id)
        if endpoint is None or not endpoint.enabled:
            # it may have been made, or enabled, a moment ago: nothing is cancelled for that
            endpoint = await self._endpoints.get_latest(endpoint_id)
        if endpoint is None:
            self._kept.pop(endpoint_id, None)
            if await self._endpoints.is_kept(endpoint_id):
                # a newer version has written it, say: its own workers deliver
                raise Retry(f"the endpoint {endpoint_id} cannot be read by this worker", about=endpoint_id)
            raise Cancel(f"there is no endpoint {endpoint_id} any more")
        if not endpoint.enabled:
            raise Cancel(f"the endpoint {endpoint_id} is disabled: {endpoint.disabled_reason or 'by its owner'}")
        self._check_throttled(endpoint_id)
        revision, target = self._kept.get(endpoint_id, ("", None))
        if target is None or revision != endpoint.revision or endpoint.overlaps:
            target = target_of(endpoint)
            if len(self._kept) >= MAX_ENDPOINTS:
                self._kept.clear()  # most are of endpoints that were deleted
            self._kept[endpoint_id] = endpoint.revision, target
        return target

    def _check_throttled(self, endpoint_id: str) -> None:
        """Raises Snooze if its receiver has asked for a pause."""
        left_s = self._endpoints.throttled_s(endpoint_id)
        if left_s > 0:
            after_s = left_s + random.uniform(0, min(left_s, LATEST_S))  # noqa: S311  # not all at once
            raise Snooze(
                f"the endpoint {endpoint_id} has asked for a pause", after_s=after_s, code="endpoint_throttled"
            )


def target_of(endpoint: Endpoint) -> Target:
    """With what it is signed and sent now: a secret that was rotated signs for a day."""
    definition, now_ms = endpoint.definition, int(time.time() * 1000)
    retry_s = SCHEDULE_S if definition.retry_s == list(SCHEDULE_S) else tuple(definition.retry_s)
    return Target(
        url=str(definition.url),
        signer=Signer(*endpoint.secrets(now_ms=now_ms)),
        headers=endpoint.headers(),
        secrets=endpoint.sent_secrets(now_ms=now_ms),
        endpoint_id=endpoint.id,
        concurrency=1 if definition.ordered else definition.concurrency,
        ordered=definition.ordered,
        timeout_s=definition.timeout_s,
        retry_s=retry_s,
        rate_per_s=definition.rate_per_s,
        own_tls=partial(context_of, definition.ca, definition.client_certificate),
    )
