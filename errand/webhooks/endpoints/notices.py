"""Operational events: what becomes of endpoints and of messages, delivered to the endpoints that ask for it by name.

They are events as all others, and never lead to one another without end: a notice about an endpoint does not go to
that endpoint, and a notice that cannot be delivered makes no other notice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from errand.queue.queue import Queue
from errand.webhooks.endpoints.definition import takes
from errand.webhooks.endpoints.endpoint import Endpoint
from errand.webhooks.endpoints.store import Endpoints
from errand.webhooks.job_type import JOB_TYPE
from errand.wire.job_id import new_job_id

log = structlog.get_logger("errand.webhooks")

MAX_NOTIFIED = 100
"""Endpoints that one notice goes to. An event that a thousand endpoints refuse, each of which asks for what becomes of
the others, would make a million jobs."""
DISABLED, RECOVERED, EXHAUSTED = "endpoint.disabled", "endpoint.recovered", "message.exhausted"
NOTICES = frozenset({DISABLED, RECOVERED, EXHAUSTED})
PREFIXES = ("endpoint.", "message.")


class EndpointNotices:
    """Puts them as jobs."""

    def __init__(self, endpoints: Endpoints, queue: Queue) -> None:
        self._endpoints = endpoints
        self._queue = queue

    async def put(self, event: str, endpoint_id: str, data: Mapping[str, Any]) -> None:
        """One delivery for each endpoint that asks for such events and may know of that one. Raises redis' errors."""
        about = await self._endpoints.get(endpoint_id)
        if about is None:
            return
        data = {"endpoint_id": endpoint_id, "tenant": about.definition.tenant, **data}
        message = {"event": event, "data": data, "message_id": f"msg_{new_job_id()}", "occurred_at": datetime.now(UTC)}
        receivers = [each for each in await self._endpoints.all() if _is_notified(each, event, about)]
        if len(receivers) > MAX_NOTIFIED:
            log.warning("a notice goes to the first endpoints alone that ask for it", notice=event, ask=len(receivers))
        some = receivers[:MAX_NOTIFIED]
        if some:
            await self._queue.enqueue_many(JOB_TYPE, [{"endpoint_id": each.id, **message} for each in some])


def _is_notified(endpoint: Endpoint, event: str, about: Endpoint) -> bool:
    """True if its filters name such events: `*` alone is meant for the customer's own. One with a tenant learns of its
    tenant's endpoints, one without a tenant of all."""
    definition = endpoint.definition
    named = tuple(filter for filter in definition.events if filter.startswith(PREFIXES))
    may_know = definition.tenant in (None, about.definition.tenant)
    return endpoint.enabled and endpoint.id != about.id and may_know and bool(named) and takes(named, event)
