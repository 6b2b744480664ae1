"""Delivers an event to a URL or an endpoint, signed as Standard Webhooks 1.0 says."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

from errand import Context, Delays, job
from errand.job.args_context import ArgsContext
from errand.resources.guard import CallerUrl
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks import (
    DEADLINE_S,
    RETRY_AFTER_CAP_S,
    SCHEDULE_S,
    Delivery,
    EventName,
    declared_in,
    deliverer,
    safe_id,
)
from errand.webhooks.event_types.event_type import in_words


class Webhook(BaseModel):
    """An event, and who receives it: the URL, or the endpoint of that id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: CallerUrl | None = None
    endpoint_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = None
    event: EventName
    data: JsonValue = Field(description="the payload, any JSON")
    message_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = Field(
        default=None, description="the `webhook-id`; without it the job's id"
    )
    occurred_at: datetime | None = Field(
        default=None, description="the event's `timestamp`; without it the time of the enqueue"
    )

    @field_validator("data")
    @classmethod
    def _fits_its_event(cls, data: JsonValue, info: ValidationInfo) -> JsonValue:
        """Only as it comes in: what is queued is delivered, however the declaration has changed since."""
        if isinstance(info.context, ArgsContext) and (name := info.data.get("event")):
            declared = declared_in(info.context.settings.packages)
            if name in declared and (faults := declared[name].faults_of(data)):
                raise ValueError(f"is not what {name} carries: {in_words(faults)}")
        return data

    @model_validator(mode="after")
    def _has_one_receiver(self) -> Self:
        if (self.url is None) == (self.endpoint_id is None):
            raise ValueError("give either a url or an endpoint_id")
        return self


@job(
    queue=WEBHOOK_QUEUE,
    max_tries=len(SCHEDULE_S) + 1,
    timeout_s=DEADLINE_S + 10,
    retry=Delays(SCHEDULE_S, cap_s=RETRY_AFTER_CAP_S),
    uses=[deliverer],
    examples=[
        {"url": "https://receiver.example/hooks", "event": "user.created", "data": {"id": 7, "name": "Ada"}},
        {"endpoint_id": "acme-billing", "event": "invoice.paid", "data": {"id": 7}},
    ],
)
async def webhook(ctx: Context, args: Webhook) -> Delivery:
    """Posts an event to a receiver and retries for three days until it answers 2xx.

    The body is `{"type", "timestamp", "data"}`; `webhook-id` is the job's id on every attempt. A redirect is a failure.
    A delivery known to be taken is not repeated; one whose reply was lost is, with the same `webhook-id`.
    """
    # no ctx.once: the delivery is the last step, so the outcome is written as soon as a marker could be
    delivering = ctx.use(deliverer)
    target = await delivering.to_endpoint(args.endpoint_id) if args.endpoint_id else delivering.to_url(str(args.url))
    # the timestamp is the event's, not the attempt's: the same bytes on every attempt
    event = {"type": args.event, "timestamp": args.occurred_at or ctx.enqueued_at, "data": args.data}
    return await delivering.deliver(ctx, target, event, webhook_id=args.message_id or safe_id(ctx.job_id))
