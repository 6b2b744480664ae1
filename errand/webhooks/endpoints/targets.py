"""Endpoints as targets of deliveries, each made once for as long as its endpoint stays as it is."""

from __future__ import annotations

import time

from errand.job.control import Cancel
from errand.webhooks.endpoints.endpoint import Endpoint
from errand.webhooks.endpoints.store import Endpoints
from errand.webhooks.schedule import SCHEDULE_S
from errand.webhooks.signing import Signer
from errand.webhooks.target import Target


class EndpointTargets:
    """Those of one worker process. To make one anew for each delivery took 6 % of its time."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._kept: dict[str, tuple[Endpoint, Target]] = {}

    async def of(self, endpoint_id: str) -> Target:
        """The endpoint as it is now, whatever it was when the event was put. Raises Cancel if it receives nothing."""
        endpoint = await self._endpoints.get(endpoint_id)
        if endpoint is None:
            self._kept.pop(endpoint_id, None)
            raise Cancel(f"there is no endpoint {endpoint_id} any more")
        if not endpoint.enabled:
            raise Cancel(f"the endpoint {endpoint_id} is disabled: {endpoint.disabled_reason or 'by its owner'}")
        made_of, target = self._kept.get(endpoint_id, (None, None))
        if target is None or made_of is not endpoint or endpoint.overlaps:
            target = target_of(endpoint)
            self._kept[endpoint_id] = endpoint, target
        return target


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
        concurrency=definition.concurrency,
        timeout_s=definition.timeout_s,
        retry_s=retry_s,
    )
