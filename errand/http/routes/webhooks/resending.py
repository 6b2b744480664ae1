"""`POST /v1/webhook-endpoints/{id}/test`, `/resend` and `/recover`: events sent again, or for a trial."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Body, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from errand.http.answers.job_view import utc
from errand.http.answers.problems import ERRORS, Problem, documented
from errand.http.answers.webhook_view import RecoveredView, WebhookEventView
from errand.http.gates import auth
from errand.http.requests.job_path import JOB_ID
from errand.http.requests.json_body import JsonRoute
from errand.http.routes.job_list import cursor_at, start_at
from errand.http.routes.webhooks.endpoints import ENDPOINT_ID, PREFIX, UNKNOWN, EndpointId, as_json, unknown
from errand.http.shared import Shared, SharedDep, in_time
from errand.job.when import Moment
from errand.monitor.job_snapshot import JobSnapshot
from errand.monitor.timeline import JobFilter
from errand.redis.rows import in_turns
from errand.webhooks import safe_id
from errand.webhooks.job_type import JOB_TYPE
from errand.wire import codec, keys
from errand.wire.job_id import new_job_id

IDS_SHOWN = 10
READ_AT_ONCE = 50
"""A result holds the event's data and may be large: no more of them are in memory at a time."""
RECOVERY_LIMIT_S = 20.0
"""How long one recovery may take; another goes on behind its cursor."""


Ended = tuple[JobSnapshot, Mapping[str, Any]]
"""A delivery that has ended, and its args."""


WRITES = [Depends(auth.require("write"))]


router = APIRouter(prefix=PREFIX, tags=["webhooks"], route_class=JsonRoute)


class Resend(BaseModel):
    """Which delivery to make again."""

    model_config = ConfigDict(extra="forbid")

    job_id: str = Field(max_length=256, examples=[JOB_ID], description="a delivery of the event, to any endpoint")


class Recovery(BaseModel):
    """Which deliveries to put again."""

    model_config = ConfigDict(extra="forbid")

    since: Moment = Field(description="those that ended from then on", examples=["2026-11-20T00:00:00Z"])
    until: Moment | None = Field(None, description="and before then", examples=["2026-11-21T00:00:00Z"])
    status: list[Literal["succeeded", "failed", "cancelled"]] = Field(
        default=["failed", "cancelled"], min_length=1, description="how they ended; `succeeded` only with `of`"
    )
    of: Annotated[str, Field(pattern=ENDPOINT_ID)] | None = Field(
        None, description="another endpoint: what was put for that one, which may be deleted, is put for this one too"
    )
    cursor: str | None = Field(
        None, max_length=2_000, description="of the answer before, to go on behind it; with the same times and status"
    )

    @model_validator(mode="after")
    def _repeats_no_success(self) -> Self:
        if self.of is None and "succeeded" in self.status:
            raise ValueError("`succeeded` needs `of`: what an endpoint has taken is sent again by `resend`, one by one")
        return self


RESEND = {"example": {"value": {"job_id": JOB_ID}}}
RECOVERY = {"example": {"value": {"since": "2026-11-20T00:00:00Z"}}}


@router.post(
    "/{id}/test",
    response_model=WebhookEventView,
    status_code=202,
    responses={**ERRORS, **UNKNOWN},
    dependencies=WRITES,
    operation_id="test_webhook_endpoint",
)
async def test_webhook_endpoint(id: EndpointId, to: SharedDep) -> Response:
    """Sends the endpoint an event `endpoint.test`, signed as any other, whatever its filters take."""
    data = {"message": "This is a test.", "endpoint_id": id}
    args = {"event": "endpoint.test", "data": data, "message_id": f"msg_{new_job_id()}"}
    return await _deliver(to, id, args)


@router.post(
    "/{id}/resend",
    response_model=WebhookEventView,
    status_code=202,
    responses={**ERRORS, **documented({404: "no such endpoint, or no such delivery"})},
    dependencies=WRITES,
    operation_id="resend_webhook_event",
)
async def resend_webhook_event(
    id: EndpointId, body: Annotated[Resend, Body(openapi_examples=RESEND)], to: SharedDep
) -> Response:
    """Sends the endpoint the event of a delivery once more, delivered or not: the same bytes, the same `webhook-id`."""
    job = await to.find(body.job_id)
    if job is None or job.type != JOB_TYPE or "event" not in job.args:
        raise Problem(404, "unknown-delivery", f"There is no delivery '{body.job_id}'.")
    return await _deliver(to, id, _event_of(job, job.args))


@router.post(
    "/{id}/recover",
    response_model=RecoveredView,
    responses={**ERRORS, **UNKNOWN},
    dependencies=WRITES,
    operation_id="recover_webhook_events",
)
async def recover_webhook_events(
    id: EndpointId, body: Annotated[Recovery, Body(openapi_examples=RECOVERY)], to: SharedDep
) -> Response:
    """Puts what failed or was cancelled in that time again, with the same `webhook-id` and with all tries, the latest
    first. With `of` it replays what another endpoint was sent: a new one gets what was before it."""
    if await in_time(to.webhook_endpoints.read(id)) is None:
        raise unknown(id)
    filter = JobFilter(
        type=JOB_TYPE,
        statuses=frozenset(body.status),
        since_ms=int(body.since.timestamp() * 1000),
        until_ms=None if body.until is None else int(body.until.timestamp() * 1000),
    )
    start = None if body.cursor is None else start_at(body.cursor, filter, field="body.cursor")
    ids, until_s = [], time.monotonic() + RECOVERY_LIMIT_S
    while True:
        page = await in_time(to.timeline.page(filter, limit=READ_AT_ONCE, start=start))
        ids += await _put_again(to, await _of_endpoint(to, page.jobs, body.of or id), new_for=id if body.of else None)
        if (start := page.next) is None or time.monotonic() > until_s:
            break
    following = None if start is None else cursor_at(start, filter)
    return as_json({"count": len(ids), "ids": ids[:IDS_SHOWN], "complete": start is None, "cursor": following})


async def _put_again(to: Shared, ended: Sequence[Ended], *, new_for: str | None) -> list[str]:
    """The same jobs, or new ones for that endpoint; their ids."""
    if new_for is not None:
        events = [{"endpoint_id": new_for, **_event_of(job, args)} for job, args in ended]
        put = await to.queue_of(to.catalog[JOB_TYPE]).enqueue_many(JOB_TYPE, events) if events else ()
        return [each.job_id for each in put]
    answers = [await in_time(to.replays.one(job.id, queue=keys.queue(job.queue))) for job, _ in ended]
    return [job.id for (job, _), answer in zip(ended, answers, strict=True) if answer == "replayed"]


def _event_of(job: JobSnapshot, args: Mapping[str, Any]) -> dict[str, Any]:
    """The args of a delivery of the same bytes with the same `webhook-id`."""
    return {
        "event": args["event"],
        "data": args.get("data"),
        "message_id": args.get("message_id") or safe_id(job.id),
        "occurred_at": args.get("occurred_at") or utc(job.enqueued_at_ms),
    }


async def _of_endpoint(to: Shared, jobs: Sequence[JobSnapshot], endpoint_id: str) -> list[Ended]:
    """Those of the ended jobs that are deliveries to the endpoint, with their args, which a list of jobs leaves out."""
    if not jobs:
        return []
    pairs = in_turns(zip(jobs, await in_time(_results(to, jobs)), strict=True))
    ended = [(job, codec.readable_or_empty(result or b"").get("k") or {}) async for job, result in pairs]
    return [(job, args) for job, args in ended if args.get("endpoint_id") == endpoint_id and "event" in args]


async def _results(to: Shared, jobs: Sequence[JobSnapshot]) -> list[bytes | None]:
    """Each in the one partition that has it."""
    names = [keys.result(job.id) for job in jobs]
    in_partitions = [await redis.mget(names) for redis in to.partitions.clients]
    return [next(filter(None, kept), None) for kept in zip(*in_partitions, strict=True)]


async def _deliver(to: Shared, endpoint_id: str, args: dict[str, Any]) -> Response:
    if await in_time(to.webhook_endpoints.read(endpoint_id)) is None:
        raise unknown(endpoint_id)
    put = await to.queue_of(to.catalog[JOB_TYPE]).enqueue(JOB_TYPE, {"endpoint_id": endpoint_id, **args})
    deliveries = [{"endpoint_id": endpoint_id, "job_id": put.job_id}]
    return as_json({"id": args["message_id"], "count": 1, "deliveries": deliveries}, status=202)
