"""`/healthz` and `/readyz`: for load balancers and supervisors, open to all and saying little."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from errand.http.answers.problems import Problem, documented
from errand.http.shared import SharedDep, in_time
from errand.monitor.queues import is_served

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The answer of a healthy service."""

    status: str = "ok"


@router.get("/healthz", operation_id="healthz")
async def healthz() -> Health:
    """This process lives and its event loop turns."""
    return Health()


@router.get(
    "/readyz",
    operation_id="readyz",
    responses=documented({503: "Redis is away, no worker has reported lately, or uploads cannot be stored"}),
)
async def readyz(to: SharedDep) -> Health:
    """Redis answers, a worker lives, uploads can be stored: what is sent now is accepted, and run now."""
    if not await in_time(is_served(to.clients, queues=to.queue_keys, silent_s=to.settings.lease_s)):
        raise Problem(
            503,
            "no-worker",
            "No worker has reported lately: jobs are accepted and wait. Start one with 'make run-worker'.",
            headers={"Retry-After": "2"},
        )
    if to.storage_check is not None and await to.storage_check.fault() is not None:
        detail = "Uploads cannot be stored: the storage is full, read-only or away. Other jobs are accepted and run."
        raise Problem(503, "storage-unavailable", detail, headers={"Retry-After": "10"})
    return Health()
