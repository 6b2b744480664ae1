"""The queues: how deep, how fast, paused and resumed."""

from __future__ import annotations

from fastapi import Depends, Request, Response

from errand.dashboard import gate
from errand.dashboard.forms import done
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import base_path, page
from errand.http.routes import queues
from errand.http.routes.queues import QueueName
from errand.http.shared import SharedDep, in_time
from errand.monitor.queues import LAST_MINUTES, QueueState, read_queues

router = page_router("/queues")

ADMINISTERS = [Depends(gate.may_act("admin"))]


@router.get("", dependencies=[Depends(gate.may_look)])
async def list_queues(request: Request, to: SharedDep) -> Response:
    """Every queue that a job type uses."""
    states = await in_time(read_queues(to.clients, list(to.queues), silent_s=to.settings.lease_s))
    types = {name: [known.name for known in to.catalog.values() if known.queue == name] for name in to.queues}
    rates = {state.name: _per_minute(state) for state in states}
    return page(request, "queues.html.j2", queues=states, types=types, rates=rates, minutes=LAST_MINUTES)


@router.post("/{name}/pause", dependencies=ADMINISTERS, operation_id="pause_queue")
async def pause(name: QueueName, request: Request, to: SharedDep) -> Response:
    """Stops workers from taking jobs of the queue."""
    await queues.pause_queue(name, to)
    return done(request, f"{base_path(request)}/queues")


@router.post("/{name}/resume", dependencies=ADMINISTERS, operation_id="resume_queue")
async def resume(name: QueueName, request: Request, to: SharedDep) -> Response:
    """Ends a pause."""
    await queues.resume_queue(name, to)
    return done(request, f"{base_path(request)}/queues")


def _per_minute(queue: QueueState) -> float:
    """The attempts that ended in the last minutes, as a rate."""
    return sum(sum(outcomes.values()) for outcomes in queue.last_minutes.values()) / LAST_MINUTES
