"""Delivers an event to a URL, signed as Standard Webhooks 1.0 says."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from errand import Context, Delays, job
from errand.resources.address_guard import CallerUrl
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks import DEADLINE_S, RETRY_AFTER_CAP_S, SCHEDULE_S, Delivery, EventName, deliverer, safe_id


class Webhook(BaseModel):
    """An event, and the URL that receives it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: CallerUrl
    event: EventName
    data: JsonValue = Field(description="the payload, any JSON")


@job(
    queue=WEBHOOK_QUEUE,
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
    # no ctx.once: the delivery is the last step, so the outcome is written as soon as a marker could be
    # the timestamp is the event's, not the attempt's: the same bytes on every attempt
    event = {"type": args.event, "timestamp": ctx.enqueued_at, "data": args.data}
    return await ctx.use(deliverer).deliver(str(args.url), event, webhook_id=safe_id(ctx.job_id))
