"""Delivers one event to one URL: signs it, posts it behind the address guard, and decides by the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import BaseModel
from pydantic_core import to_json

from errand.extras import needs
from errand.job.control import Fail, Retry
from errand.settings import WEBHOOK_QUEUE, Settings
from errand.webhooks.receivers import Receivers
from errand.webhooks.secret import installation_secret, secret_of_url
from errand.webhooks.signing import Signer

if TYPE_CHECKING:
    from errand.webhooks.post import HttpAnswer, Poster

DEADLINE_S = 20
MINUTE_S, HOUR_S = 60, 3600
SCHEDULE_S = (5, 5 * MINUTE_S, 30 * MINUTE_S, *(hours * HOUR_S for hours in (2, 5, 10, 14, 20, 24)))
"""Waits after each failed attempt: the schedule that Standard Webhooks 1.0 recommends."""
RETRY_AFTER_CAP_S = 24 * HOUR_S


class Delivery(BaseModel):
    """What the receiver answered, and how long it took."""

    status: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Deliverer:
    """Opened once in a worker; `ctx.use(deliverer)` in a job."""

    poster: Poster
    secret: str
    """The installation's own."""
    receivers: Receivers
    host_limit: int
    """How many deliveries one host may have at once."""

    async def deliver(self, url: str, event: Mapping[str, Any], *, webhook_id: str) -> Delivery:
        """Posts `event` as JSON, signed.

        Raises Fail if the receiver answers 410 (no more events) or its address is refused; Retry for any other answer
        but a 2xx, whose wait is no shorter than what the receiver asks for; Snooze if its host is busy.
        """
        from errand.webhooks.post import PostFault

        body = to_json(event)
        headers = url_signer(self.secret, url).headers(webhook_id, body, now=datetime.now(UTC))
        try:
            async with self.receivers.turn(host_of(url), limit=self.host_limit):
                answer = await self.poster.post(url, body=body, headers=headers, deadline_s=DEADLINE_S)
        except PostFault as fault:
            raise (Fail if fault.kind == "blocked" else Retry)(f"{fault.kind}: {fault}") from None
        _check_taken(answer)
        return Delivery(status=answer.status, duration_s=round(sum(answer.timings_ms.values()) / 1000, 3))


def host_of(url: str) -> str:
    """Host and port, as one receiver has them."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


@lru_cache(maxsize=4096)
def url_signer(secret: str, url: str) -> Signer:
    """Signs with the receiver's own secret, and with the installation's, which receivers of old verify with."""
    return Signer(secret_of_url(secret, url), secret)


@asynccontextmanager
async def deliverer(settings: Settings) -> AsyncIterator[Deliverer]:
    """The signing secret and a guarded client. On a developer's machine also the webhook sink, the one address
    of that machine that the guard lets through."""
    with needs("webhooks"):
        from errand.resources.address_guard import AddressGuard
        from errand.webhooks.post import Poster
        from errand.webhooks.sink import opened_sink

    secret = installation_secret(settings)
    async with opened_sink(settings) as endpoints:
        guard = AddressGuard(settings.webhook_allow_networks, allow_endpoints=endpoints)
        async with Poster.open(guard) as poster:
            slots = settings.queue_shares([WEBHOOK_QUEUE]).get(WEBHOOK_QUEUE, settings.webhook_concurrency)
            yield Deliverer(poster, secret, Receivers(slots=slots), settings.webhook_host_concurrency)


def _check_taken(answer: HttpAnswer) -> None:
    """Standard Webhooks 1.0: 2xx is success, 410 says stop, anything else is tried again."""
    if 200 <= answer.status < 300:
        return
    said = answer.body[:200].decode(errors="replace").strip()
    reason = f"the receiver answered {answer.status}" + (f": {said}" if said else "")
    if answer.status == 410:
        raise Fail(reason)
    raise Retry(reason, at_least_s=retry_after_s(answer.header("retry-after"), now=datetime.now(UTC)))


def retry_after_s(value: str, *, now: datetime) -> float:
    """The wait that `Retry-After` asks for (RFC 9110 §10.2.3: seconds or a date), a day at most; 0 if it asks for none.

    It may only lengthen the schedule's wait: a receiver that answers `Retry-After: 1` for a minute would else have used
    up the tries of three days.
    """
    value = value.strip()
    if value.isascii() and value.isdigit():
        asked_s = float(value[:12])
    else:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return 0.0
        asked_s = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(asked_s, 0.0), RETRY_AFTER_CAP_S)
