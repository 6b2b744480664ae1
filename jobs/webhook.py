"""Delivers an event to a URL, signed as Standard Webhooks 1.0 says."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from errand.job.context import Context
from errand.job.control import Fail, Retry
from errand.job.job_type import job
from errand.job.retry_policy import Delays
from errand.resources.address_guard import CallerUrl
from errand.webhooks.deliverer import RETRY_AFTER_CAP_S, SCHEDULE_S, deliverer, retry_after_s

if TYPE_CHECKING:
    from errand.resources.outbound import Reply

DEADLINE_S = 20


class Webhook(BaseModel):
    """An event, and the URL that receives it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: CallerUrl
    event: str = Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$", max_length=128)
    data: JsonValue = Field(description="the payload, any JSON")


class Delivery(BaseModel):
    """The receiver took it."""

    status: int
    duration_s: float


@job(
    max_tries=len(SCHEDULE_S) + 1,
    timeout_s=DEADLINE_S + 10,
    retry=Delays(SCHEDULE_S, cap_s=RETRY_AFTER_CAP_S),
    uses=[deliverer],
    examples=[{"url": "https://receiver.example/hooks", "event": "user.created", "data": {"id": 7, "name": "Ada"}}],
)
async def webhook(ctx: Context, args: Webhook) -> Delivery:
    """Posts an event to a receiver and retries for three days until it answers 2xx.

    The body is `{"type", "timestamp", "data"}`; `webhook-id` is the job's id on every attempt. A redirect is a failure.
    A delivery known to be taken is not repeated; one whose reply was lost is, with the same `webhook-id`.
    """
    from errand.resources.outbound import OutboundFault, OutboundRefused

    resource, body, delivering = ctx.use(deliverer), _body(ctx, args), await ctx.once("delivery")
    if delivering.done:
        return Delivery.model_validate(delivering.value)
    started_s = time.monotonic()
    try:
        headers = resource.signer.headers(ctx.job_id, body, now=datetime.now(UTC))
        reply = await resource.outbound.post(str(args.url), body=body, headers=headers, deadline_s=DEADLINE_S)
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
