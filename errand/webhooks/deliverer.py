"""Split off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from errand.settings import Settings

if TYPE_CHECKING:
    from errand.resources.outbound import Outbound
    from errand.webhooks.signing import Signer

MINUTE_S, HOUR_S = 60, 3600


SCHEDULE_S = (5, 5 * MINUTE_S, 30 * MINUTE_S, *(hours * HOUR_S for hours in (2, 5, 10, 14, 20, 24)))
"""Waits after each failed attempt: the schedule that Standard Webhooks 1.0 recommends."""


RETRY_AFTER_CAP_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Deliverer:
    """What a delivery needs of the worker."""

    outbound: Outbound
    signer: Signer


@asynccontextmanager
async def deliverer(settings: Settings) -> AsyncIterator[Deliverer]:
    """The signing secret and a guarded client; on a developer's machine the webhook sink as well, and it alone
    is let through the guard."""
    from errand.resources.address_guard import AddressGuard
    from errand.resources.outbound import Outbound
    from errand.webhooks.signing import Signer
    from errand.webhooks.sink import opened_sink

    signer = Signer.from_settings(settings)
    async with opened_sink(settings) as endpoints:
        guard = AddressGuard(settings.webhook_allow_networks, allow_endpoints=endpoints)
        async with Outbound.open(guard, connections=settings.worker_concurrency) as client:
            yield Deliverer(client, signer)


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """The wait that `Retry-After` asks for (RFC 9110 §10.2.3: seconds or a date), from 1 s to a day; else None."""
    value = next((text for name, text in headers.items() if name.lower() == "retry-after"), "").strip()
    if value.isascii() and value.isdigit():
        asked_s = float(value[:12])
    else:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        asked_s = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(asked_s, 1.0), RETRY_AFTER_CAP_S)
