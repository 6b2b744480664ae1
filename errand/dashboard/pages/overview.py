"""The first page: is everything all right?"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from errand.dashboard import attention, gate
from errand.dashboard.assets import PATH
from errand.dashboard.bulk.kept import unfinished
from errand.dashboard.charts.overview import charts_of
from errand.dashboard.checkup import checkup_of
from errand.dashboard.history.day import Span
from errand.dashboard.page_route import PageRoute, page_router
from errand.dashboard.pages.workers import longest
from errand.dashboard.rendering import page
from errand.dead_jobs.dead_jobs import DeadGroup, DeadJobFilter
from errand.http.scope import root_path
from errand.http.shared import Shared, SharedDep, in_time
from errand.monitor.queues import QueueState, WorkerState, read_queues, read_workers

MAX_ENDPOINTS = 200
"""So many are looked at, in the order of their ids: is one disabled, or throttled?"""

MAX_RUNNING = 2
"""So many jobs of each worker are named, those that have run the longest; the page of the workers has more."""

router = page_router()
front = APIRouter(route_class=PageRoute, include_in_schema=False)


@front.get("/", dependencies=[Depends(gate.may_look)])
async def lead_to_overview(request: Request) -> Response:
    """For people who type the bare address; for programs there is nothing here."""
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)
    return RedirectResponse(f"{root_path(request.scope)}{PATH}", status_code=303)


@router.get("", dependencies=[Depends(gate.may_look)])
@router.get("/", dependencies=[Depends(gate.may_look)])
async def show_overview(request: Request, to: SharedDep) -> Response:
    """Queues, workers, the last hour or day, and what needs attention."""
    names, silent_s = list(to.queues), to.settings.lease_s
    queues = await in_time(read_queues(to.clients, names, silent_s=silent_s))
    workers = await in_time(read_workers(to.clients, names, silent_s=silent_s))
    span: Span = "day" if request.query_params.get("span") == "day" else "hour"
    return page(
        request,
        "overview.html.j2",
        queues=queues,
        workers=workers,
        running=longest(workers, most=MAX_RUNNING),
        needs=attention.needs(await _overview(request, to, queues, workers)),
        span=span,
        charts=await charts_of(request.app, to, span),
    )


async def _overview(
    request: Request, to: Shared, queues: Sequence[QueueState], workers: Sequence[WorkerState]
) -> attention.Overview:
    endpoints, _ = await in_time(to.webhook_endpoints.page(after="", most=MAX_ENDPOINTS))
    enabled = [endpoint.id for endpoint in endpoints if endpoint.enabled]
    return attention.Overview(
        queues=queues,
        workers=workers,
        types={known.name: known.queue for known in to.catalog.values()},
        groups=await _groups(to, queues),
        disabled=[endpoint.id for endpoint in endpoints if not endpoint.enabled],
        throttled=await in_time(to.webhook_endpoints.throttled_until_ms(enabled)),
        interrupted=[run for run in await unfinished(to) if run.interrupted],
        findings=await checkup_of(request.app, to).warnings(),
    )


async def _groups(to: Shared, queues: Sequence[QueueState]) -> Sequence[DeadGroup]:
    """The largest first, of as many as one call looks at."""
    if not any(queue.dead for queue in queues):
        return []
    return (await in_time(to.dead.groups(DeadJobFilter()))).groups
