"""Delivering events: signatures as Standard Webhooks 1.0 says, a guarded client, the sink of a developer's machine.

A job type takes `deliverer` in its `uses` and delivers by `ctx.use(deliverer)`. Nothing here is a job type. aiohttp
(`errand[webhooks]`) is loaded when a worker opens `deliverer`.
"""

from errand.webhooks.delivery import Deliverer, Delivery, deliverer
from errand.webhooks.event_name import EventName
from errand.webhooks.event_types import declared_in, webhook_event
from errand.webhooks.schedule import DEADLINE_S, RETRY_AFTER_CAP_S, SCHEDULE_S
from errand.webhooks.signing import safe_id

__all__ = [
    "DEADLINE_S",
    "RETRY_AFTER_CAP_S",
    "SCHEDULE_S",
    "Deliverer",
    "Delivery",
    "EventName",
    "declared_in",
    "deliverer",
    "safe_id",
    "webhook_event",
]
