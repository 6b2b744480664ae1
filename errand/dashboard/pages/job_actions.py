"""What can be done with one job from its page: cancel, retry, run now, another time, forget."""

from __future__ import annotations

from datetime import UTC, datetime

from arq.utils import to_unix_ms
from fastapi import Depends, Request, Response
from pydantic import TypeAdapter, ValidationError

from errand.dashboard import gate
from errand.dashboard.forms import FormDep, done
from errand.dashboard.page_route import page_router
from errand.dashboard.pages.jobs import job_path
from errand.dashboard.rendering import base_path
from errand.http.requests import json_body
from errand.http.requests.etags import Seen
from errand.http.requests.job_path import JobId
from errand.http.routes import jobs
from errand.http.shared import SharedDep
from errand.job.when import DurationS, When

router = page_router("/jobs/{id}")

WRITES = [Depends(gate.may_act("write"))]

ANY = Seen(None)

_DELAY: TypeAdapter[float] = TypeAdapter(DurationS)


@router.post("/cancel", dependencies=WRITES, operation_id="cancel_job")
async def cancel(id: JobId, request: Request, to: SharedDep) -> Response:
    """Ends the job as cancelled."""
    await jobs.cancel_job(id, to, ANY)
    return _shown(request, id, "cancelled")


@router.post("/retry", dependencies=WRITES, operation_id="retry_job")
async def retry(id: JobId, request: Request, to: SharedDep) -> Response:
    """Puts the job again, or has its next attempt made now."""
    await jobs.retry_job(id, to, ANY)
    return _shown(request, id, "retried")


@router.post("/run-now", dependencies=WRITES, operation_id="reschedule_job")
async def run_now(id: JobId, request: Request, to: SharedDep) -> Response:
    """Makes a job that is due later due now."""
    await jobs.reschedule_job(id, to, When(0, None), ANY)
    return _shown(request, id, "due")


@router.post("/reschedule", dependencies=WRITES, operation_id="reschedule_job")
async def reschedule(id: JobId, request: Request, to: SharedDep, form: FormDep) -> Response:
    """Gives the job another time."""
    await jobs.reschedule_job(id, to, time_in(form.get("delay"), form.get("run_at")), ANY)
    return _shown(request, id, "rescheduled")


@router.post("/forget", dependencies=WRITES, operation_id="forget_job")
async def forget(id: JobId, request: Request, to: SharedDep) -> Response:
    """Forgets an ended job."""
    await jobs.forget_job(id, to, ANY)
    return done(request, f"{base_path(request)}/jobs")


def time_in(delay: str, run_at: str) -> When:
    """The time that two fields of a form name: a length from now, or a moment in UTC. Raises Problem 422."""
    if bool(delay) == bool(run_at):
        raise json_body.invalid("delay", "give either how long from now, or a moment")
    if delay:
        try:
            return When(int(_DELAY.validate_python(delay) * 1000), None)
        except ValidationError as error:
            raise json_body.invalid("delay", error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    try:
        at = datetime.fromisoformat(run_at)
    except ValueError:
        raise json_body.invalid("run_at", "must be a moment, such as 2026-11-01T09:00") from None
    return When(0, to_unix_ms(at if at.tzinfo else at.replace(tzinfo=UTC)))


def _shown(request: Request, job_id: str, what: str) -> Response:
    return done(request, f"{job_path(request, job_id)}?done={what}")
