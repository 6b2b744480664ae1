"""Delivers an event to a URL, signed as Standard Webhooks 1.0 says."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from jobs import Context, Delays, Fail, Retry, job
from jobs.resources.caller_url import CallerUrl
from settings import Settings

if TYPE_CHECKING:
    from jobs.resources.outbound import Outbound, Reply
    from jobs.webhook.signing import Signer

DEADLINE_S = 20
MINUTE_S, HOUR_S = 60, 3600
SCHEDULE_S = (5, 5 * MINUTE_S, 30 * MINUTE_S, *(hours * HOUR_S for hours in (2, 5, 10, 14, 20, 24)))
"""Waits after each failed attempt: the schedule that Standard Webhooks 1.0 recommends."""
RETRY_AFTER_CAP_S = 24 * HOUR_S


class Webhook(BaseModel):
    """Which event to tell whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: CallerUrl
    event: str = Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=128)
    data: JsonValue = Field(description="the payload, any JSON")


class Delivery(BaseModel):
    """The receiver took it."""

    status: int
    duration_s: float


@dataclass(frozen=True, slots=True)
class Courier:
    """What a delivery needs of the worker."""

    outbound: Outbound
    signer: Signer


@asynccontextmanager
async def courier(settings: Settings) -> AsyncIterator[Courier]:
    """The signing secret and a guarded client; on a developer's machine the webhook sink as well, and it alone
    is let through the guard."""
    from jobs.resources.address_guard import AddressGuard
    from jobs.resources.outbound import Outbound
    from jobs.webhook.signing import Signer
    from jobs.webhook.sink import opened_sink

    signer = Signer.from_settings(settings)
    async with opened_sink(settings) as endpoints:
        guard = AddressGuard(settings.webhook_allow_networks, allow_endpoints=endpoints)
        async with Outbound.open(guard, connections=settings.worker_concurrency) as client:
            yield Courier(client, signer)


@job(
    max_tries=len(SCHEDULE_S) + 1,
    timeout_s=DEADLINE_S + 10,
    retry=Delays(SCHEDULE_S, cap_s=RETRY_AFTER_CAP_S),
    uses=[courier],
    examples=[{"url": "https://receiver.example/hooks", "event": "user.created", "data": {"id": 7, "name": "Ada"}}],
)
async def webhook(ctx: Context, args: Webhook) -> Delivery:
    """Posts an event to a receiver and retries for three days until it answers 2xx.

    The body is `{"type", "timestamp", "data"}`; `webhook-id` is the job's id on every attempt. A redirect is a failure.
    A delivery known to be taken is not repeated; one whose reply was lost is, and receivers tell by its `webhook-id`.
    """
    from jobs.resources.outbound import OutboundFault, OutboundRefused

    lent, body, delivering = ctx.use(courier), _body(ctx, args), await ctx.once("delivery")
    if delivering.done:
        return Delivery.model_validate(delivering.value)
    started_s = time.monotonic()
    try:
        headers = lent.signer.headers(ctx.job_id, body, now=datetime.now(UTC))
        reply = await lent.outbound.post(str(args.url), body=body, headers=headers, deadline_s=DEADLINE_S)
    except OutboundRefused as error:
        raise Fail(str(error)) from None
    except OutboundFault as error:
        raise Retry(str(error)) from None
    _check_taken(reply)
    delivery = Delivery(status=reply.status, duration_s=round(time.monotonic() - started_s, 3))
    await delivering.finish(delivery.model_dump())
    return delivery


def _body(ctx: Context, args: Webhook) -> bytes:
    """The same bytes on every attempt: the timestamp is the event's, not the attempt's."""
    return to_json({"type": args.event, "timestamp": ctx.enqueued_at, "data": args.data})


def _check_taken(reply: Reply) -> None:
    """Standard Webhooks 1.0: 2xx is success, 410 says stop, anything else is tried again."""
    if 200 <= reply.status < 300:
        return
    said = reply.body[:200].decode(errors="replace").strip()
    reason = f"the receiver answered {reply.status}" + (f": {said}" if said else "")
    if reply.status == 410:
        raise Fail(reason)
    raise Retry(reason, after_s=retry_after_s(reply.headers, now=datetime.now(UTC)))


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
