"""`POST /v1/webhook-events`: one event for every endpoint that receives it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from errand.http.answers.job_view import json_response
from errand.http.answers.problems import ERRORS, KEY_ERRORS, Problem, documented
from errand.http.answers.webhook_view import WebhookEventView
from errand.http.gates import auth
from errand.http.requests import idempotency, json_body
from errand.http.requests.idempotency import KeyedRequest, KeyHeader
from errand.http.requests.json_body import JsonRoute
from errand.http.routes.webhooks import event_types
from errand.http.routes.webhooks.endpoints import as_json
from errand.http.shared import Shared, SharedDep, in_time
from errand.queue.idempotency import KeyReused
from errand.queue.new_job import Enqueued
from errand.redis.outage import may_be_done, missed
from errand.webhooks.endpoints import Endpoint
from errand.webhooks.event_name import EventName
from errand.webhooks.job_type import JOB_TYPE
from errand.wire.job_id import new_job_id

FAN_OUT_LIMIT_BYTES = 64 * 1024 * 1024
"""Of one event, its data once for each endpoint: one script call writes them, and Redis does nothing else meanwhile."""


router = APIRouter(prefix="/v1/webhook-events", tags=["webhooks"], route_class=JsonRoute)


class WebhookEvent(BaseModel):
    """An event."""

    model_config = ConfigDict(extra="forbid")

    event: EventName
    data: JsonValue = Field(description="the payload, any JSON", examples=[{"id": 7}])
    tenant: str | None = Field(None, max_length=128, description="it goes to this tenant's endpoints alone")
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")] | None = Field(
        None, description="the `webhook-id` of all its deliveries; without it one is made"
    )


EXAMPLES = {"example": {"value": {"event": "invoice.paid", "data": {"id": 7}}}}
EventBody = Annotated[WebhookEvent, Body(openapi_examples=EXAMPLES)]


@router.post(
    "",
    response_model=WebhookEventView,
    status_code=202,
    responses={**ERRORS, 400: KEY_ERRORS[400], **documented({413: "its data, once for each endpoint, is too much"})},
    dependencies=[Depends(auth.require("write"))],
    operation_id="send_webhook_event",
)
async def send_webhook_event(body: EventBody, request: Request, to: SharedDep, key: KeyHeader = None) -> Response:
    """Puts one delivery for every enabled endpoint whose filters take the event: all of them, or none.

    Each is a job of the type `webhook`, tried by its endpoint's own schedule.
    """
    event_types.check_data(to, body.event, body.data)
    raw, keyed = await request.body(), idempotency.read(request)
    # first: by now other endpoints may receive it, or none
    if keyed is not None and (again := await _answered_before(to, keyed, raw)) is not None:
        return again
    endpoints, is_listened = await asyncio.gather(
        in_time(to.webhook_endpoints.receiving(body.event, tenant=body.tenant)), in_time(to.sent_events.has_listeners())
    )
    if len(raw) * len(endpoints) > FAN_OUT_LIMIT_BYTES:
        detail = f"{len(endpoints)} endpoints receive it: with its data that is over {FAN_OUT_LIMIT_BYTES} bytes."
        raise Problem(413, "content-too-large", detail)
    # as the request had it: numbers that a float cannot hold keep their digits
    data = json_body.value_in(raw, field="body")["data"]
    event = {"event": body.event, "data": data, "message_id": body.id or f"msg_{new_job_id()}"}
    event["occurred_at"] = datetime.now(UTC)
    put = await _put(to, event, endpoints, keyed) if endpoints else []
    if put and put[0].replayed:
        return _again(put[0].memo or event["message_id"], count=len(put))
    if is_listened:
        await _show(to, event, tenant=body.tenant)
    # no models: a thousand of them take as long as all the rest here
    pairs = zip(endpoints, put, strict=True)
    deliveries = [{"endpoint_id": endpoint.id, "job_id": job.job_id} for endpoint, job in pairs]
    return as_json({"id": event["message_id"], "count": len(put), "deliveries": deliveries}, status=202)


async def _put(
    to: Shared, event: dict[str, Any], endpoints: Sequence[Endpoint], keyed: KeyedRequest | None
) -> Sequence[Enqueued]:
    """One delivery for each endpoint. Raises Problem 422 if the key was used for another event."""
    ordered = [endpoint.id for endpoint in endpoints if endpoint.definition.ordered]
    is_new = await in_time(to.webhook_lines.join(ordered, event["message_id"]))
    try:
        put = await to.queue_of(to.catalog[JOB_TYPE]).enqueue_many(
            JOB_TYPE,
            [{"endpoint_id": endpoint.id, **event} for endpoint in endpoints],
            idempotency=None if keyed is None else keyed.idempotency(memo=event["message_id"]),
        )
    except Exception as error:
        # a delivery that is there all the same keeps its place in line; if it is not, others wait for it for a minute
        if is_new and not may_be_done(error):
            await in_time(to.webhook_lines.leave(ordered, event["message_id"]))
        if isinstance(error, KeyReused):
            raise idempotency.reused() from None
        raise
    if put[0].replayed:
        if is_new:
            await in_time(to.webhook_lines.leave(ordered, event["message_id"]))
        return put
    if ordered:
        pairs = zip(endpoints, put, strict=True)
        in_line = {endpoint.id: job.job_id for endpoint, job in pairs if endpoint.definition.ordered}
        with missed():  # they are put, whatever else is noted
            await in_time(to.webhook_lines.put(in_line, event["message_id"]))
    return put


async def _show(to: Shared, event: dict[str, Any], *, tenant: str | None) -> None:
    """To developers who listen. What was promised to endpoints is put by then, and stands if this fails."""
    body = {"type": event["event"], "timestamp": event["occurred_at"], "data": event["data"]}
    with missed():
        await in_time(to.sent_events.add(event["message_id"], body, tenant=tenant))


async def _answered_before(to: Shared, keyed: KeyedRequest, body: bytes) -> Response | None:
    """The first answer again, if a request under that key has put deliveries. Raises Problem 422 if it was another."""
    keyed.take("body", body)
    try:
        first = await to.queue_of(to.catalog[JOB_TYPE]).first_answer(keyed.idempotency())
    except KeyReused:
        raise idempotency.reused() from None
    return None if first is None else _again(first.memo, count=len(first.job_ids))


def _again(message_id: str, *, count: int) -> Response:
    view = WebhookEventView(id=message_id, count=count, deliveries=[])
    return json_response(view, status=202, headers=idempotency.REPLAYED)
