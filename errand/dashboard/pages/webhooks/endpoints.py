"""The webhook endpoints, and what each has answered lately."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import Depends, Request, Response

from errand.dashboard import gate
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import page
from errand.dead_jobs.dead_jobs import DeadJobFilter
from errand.http.answers.webhook_view import attempt_view, endpoint_view
from errand.http.routes.webhooks.endpoints import EndpointId, unknown
from errand.http.shared import SharedDep, in_time
from errand.webhooks.endpoints import AttemptFilter
from errand.webhooks.job_type import JOB_TYPE

ROWS, ATTEMPTS = 100, 50

router = page_router("/webhook-endpoints")


@router.get("", dependencies=[Depends(gate.may_look)])
async def list_endpoints(request: Request, to: SharedDep) -> Response:
    """All of them, in the order of their ids, a page at a time."""
    kept, after = await in_time(to.webhook_endpoints.page(after=request.query_params.get("after", ""), most=ROWS))
    until_ms = await in_time(to.webhook_endpoints.throttled_until_ms([endpoint.id for endpoint in kept]))
    views = [
        endpoint_view(endpoint, root_path=to.root_path, throttled_until_ms=until_ms.get(endpoint.id))
        for endpoint in kept
    ]
    return page(request, "webhook_endpoints.html.j2", endpoints=views, after=after)


@router.get("/{id}", dependencies=[Depends(gate.may_look)])
async def show_endpoint(id: EndpointId, request: Request, to: SharedDep) -> Response:
    """One endpoint, with its latest attempts and how many of its deliveries are dead."""
    endpoint = await in_time(to.webhook_endpoints.read(id))
    if endpoint is None:
        raise unknown(id)
    until_ms = await in_time(to.webhook_endpoints.throttled_until_ms([id]))
    dead = await in_time(to.dead.groups(DeadJobFilter(type=JOB_TYPE, about=id)))
    attempts, _ = await in_time(to.webhook_attempts.page(id, AttemptFilter(), limit=ATTEMPTS, before=None))
    return page(
        request,
        "webhook_endpoint.html.j2",
        endpoint=endpoint_view(endpoint, root_path=to.root_path, throttled_until_ms=until_ms.get(id)),
        attempts=[attempt_view(attempt, root_path=to.root_path) for attempt in attempts],
        dead=dead.jobs,
        delivers=JOB_TYPE in to.catalog,
        yesterday=datetime.now(UTC) - timedelta(days=1),
    )
