"""The first page: is everything all right?"""

from __future__ import annotations

from fastapi import Depends, Request, Response

from errand.dashboard import attention, gate
from errand.dashboard.charts import past
from errand.dashboard.history.day import Span, read_history
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import page
from errand.http.shared import SharedDep, in_time
from errand.monitor.queues import read_queues, read_workers

MAX_ENDPOINTS = 200
"""So many are looked at, in the order of their ids: is one disabled?"""

router = page_router()


@router.get("", dependencies=[Depends(gate.may_look)])
async def show_overview(request: Request, to: SharedDep) -> Response:
    """Queues, workers, the last hour or day, and what needs attention."""
    names, silent_s = list(to.queues), to.settings.lease_s
    queues = await in_time(read_queues(to.redis, names, silent_s=silent_s))
    workers = await in_time(read_workers(to.redis, names, silent_s=silent_s))
    endpoints, _ = await in_time(to.webhook_endpoints.page(after="", most=MAX_ENDPOINTS))
    span: Span = "day" if request.query_params.get("span") == "day" else "hour"
    history = await in_time(read_history(to.redis, to.queue_keys, span))
    return page(
        request,
        "overview.html.j2",
        queues=queues,
        workers=workers,
        needs=attention.needs(
            queues,
            workers,
            types={known.name: known.queue for known in to.catalog.values()},
            disabled=[endpoint.id for endpoint in endpoints if not endpoint.enabled],
        ),
        span=span,
        attempts=past.attempts(history),
        waits=past.times(history, "wait_ms"),
        runs=past.times(history, "run_ms"),
    )
