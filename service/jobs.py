"""`/v1/jobs/{id}`: look at a job, wait for it, cancel it, run it again, forget it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from jobs.engine.queue import Queue
from jobs.engine.snapshot import JobSnapshot
from service import auth, waits
from service.dependencies import Shared, SharedDep, in_time
from service.enqueueing import ERRORS
from service.openapi_examples import JOB_ID
from service.problems import Problem, documented
from service.views import JobView, job_view, json_response
from service.waits import LONGEST_WAIT_S, PreferDep

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(max_length=128, description="the job's id", examples=[JOB_ID])]
UNKNOWN = documented({404: "no such job, or it has been forgotten"})
WRONG_STATE = documented({409: "its state does not allow this; the answer names it"})


@router.get(
    "/{id}",
    response_model=JobView,
    responses={**ERRORS, **UNKNOWN},
    dependencies=[Depends(auth.require("read"))],
    operation_id="get_job",
)
async def get_job(
    id: JobId,
    request: Request,
    to: SharedDep,
    _: PreferDep,
    wait: Annotated[
        float | None,
        Query(
            ge=0,
            le=LONGEST_WAIT_S,
            description="answer when the job has ended, or after that many seconds",
            examples=[30],
        ),
    ] = None,
) -> Response:
    """One job: its state, its attempts, its result."""
    preferred_s = waits.preferred_s(request.scope["headers"]) if wait is None else None
    wait_s = wait or preferred_s or 0
    job = await waits.ended_or_after(to, id, wait_s=wait_s) if wait_s else await waits.found(to, id)
    headers = {} if preferred_s is None else waits.applied(preferred_s)
    return json_response(job_view(job, to.catalog), headers=headers)


@router.post(
    "/{id}/cancel",
    response_model=JobView,
    responses={
        **ERRORS,
        **UNKNOWN,
        **WRONG_STATE,
        202: {"model": JobView, "description": "it runs; its worker has been told"},
    },
    dependencies=[Depends(auth.require("write"))],
    operation_id="cancel_job",
)
async def cancel_job(id: JobId, to: SharedDep) -> Response:
    """Ends a job as `cancelled`: at once (200) where it does not run, else when its worker has heard of it (202)."""
    # where it is decides which queue is told; it may move on meanwhile, and the script knows
    found = await waits.found(to, id)
    answer = await in_time(to.queues[found.queue].cancel(id)) if found.queue in to.queues else "ended"
    job = await waits.found(to, id)
    if answer not in ("cancelled", "cancelling"):
        raise Problem(409, "wrong-state", f"Job {id} is {job.status}; only a job that has not ended can be cancelled.")
    return json_response(job_view(job, to.catalog), status=200 if job.ended else 202)


@router.post(
    "/{id}/retry",
    status_code=202,
    response_model=JobView,
    responses={**ERRORS, **UNKNOWN, **WRONG_STATE},
    dependencies=[Depends(auth.require("write"))],
    operation_id="retry_job",
)
async def retry_job(id: JobId, to: SharedDep) -> Response:
    """Puts a failed or cancelled job again, with all of its tries; one that waits for its next try is due now."""
    found = await waits.found(to, id)
    queue = _queue_of(to, found)
    if found.ended:
        answer: str = await in_time(to.replays.one(id, queue=queue.key))
    else:
        answer = await in_time(queue.retry(id))
    job = await waits.found(to, id)
    if answer == "bodiless":
        detail = f"Job {id} cannot be run again: what it was to do had been lost before it could be read."
        raise Problem(409, "nothing-to-retry", detail)
    if answer not in ("replayed", "retried"):
        state = f"{job.status} and has not been tried yet" if answer == "deferred" else job.status
        allowed = "only a job that has failed, was cancelled, or waits for its next try can be retried"
        raise Problem(409, "wrong-state", f"Job {id} is {state}; {allowed}.")
    return json_response(job_view(job, to.catalog), status=202)


@router.delete(
    "/{id}",
    status_code=204,
    responses={**ERRORS, **UNKNOWN, **WRONG_STATE},
    dependencies=[Depends(auth.require("write"))],
    operation_id="forget_job",
)
async def forget_job(id: JobId, to: SharedDep) -> None:
    """Forgets an ended job: its result, its attempts, its place among the dead jobs."""
    found = await waits.found(to, id)
    if not (found.ended and await in_time(_queue_of(to, found).forget(id))):
        job = await waits.found(to, id)
        raise Problem(409, "wrong-state", f"Job {id} is {job.status}; only a job that has ended can be forgotten.")


def _queue_of(to: Shared, job: JobSnapshot) -> Queue:
    if job.queue not in to.queues:
        detail = f"Job {job.id} is of the queue '{job.queue}', which no job type of this service uses."
        raise Problem(409, "queue-of-others", detail)
    return to.queues[job.queue]
