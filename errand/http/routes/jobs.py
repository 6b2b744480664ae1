"""`/v1/jobs/{id}`: shows a job, waits for it, cancels it, gives it another time, runs it again, forgets it."""

from __future__ import annotations

from typing import Annotated, Any

from arq.utils import timestamp_ms
from fastapi import APIRouter, Depends, Header, Query, Request, Response

from errand.http.answers.job_view import JobView, json_response, path_of, utc
from errand.http.answers.problems import ERRORS, FaultyField, Problem, documented
from errand.http.gates import auth
from errand.http.requests import etags, job_path, waits
from errand.http.requests.due import WhenDep
from errand.http.requests.etags import ETAG_EXAMPLE, OUTDATED, SeenDep
from errand.http.requests.job_path import UNKNOWN, JobId
from errand.http.requests.waits import MAX_WAIT_S, PreferHeader
from errand.http.shared import Shared, SharedDep, full_view_of, in_time
from errand.job.when import When
from errand.monitor.job_snapshot import JobSnapshot
from errand.queue.partitioned import JobQueue
from errand.resources.job_files import may_have_files

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


async def new_time(request: Request, when: WhenDep) -> When:
    """When the job is to be due. Raises Problem 422 if no time is given: that is hardly meant as "at once"."""
    if "delay" not in request.query_params and "run_at" not in request.query_params:
        errors = [FaultyField(field="query.delay", message="is missing, and so is run_at")]
        raise Problem(422, "invalid-request", "Say when the job is to be due: delay or run_at.", errors=errors)
    return when


NewTimeDep = Annotated[When, Depends(new_time)]


SHOWN: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"ETag": {"description": "changes with the job", "schema": {"type": "string"}}}}
}


WRONG_STATE = documented({409: "its state does not allow this; the answer names it"})


@router.get(
    "/{id}",
    response_model=JobView,
    responses={**ERRORS, **UNKNOWN, **SHOWN, 304: {"description": "it is as `If-None-Match` says"}},
    dependencies=[Depends(auth.require("read"))],
    operation_id="get_job",
)
async def get_job(
    id: JobId,
    request: Request,
    to: SharedDep,
    wait: Annotated[
        float | None,
        Query(
            ge=0,
            le=MAX_WAIT_S,
            description="answer when the job has ended, or after that many seconds",
            examples=[30],
        ),
    ] = None,
    _prefer: PreferHeader = None,
    _known: Annotated[
        str | None,
        Header(
            alias="If-None-Match",
            description="an `ETag` of the job, or several: 304 if it still has one of them",
            examples=[ETAG_EXAMPLE],
        ),
    ] = None,
) -> Response:
    """One job: its state, its attempts, its result."""
    preferred_s = waits.preferred_s(request.scope["headers"]) if wait is None else None
    wait_s = wait or preferred_s or 0
    job = await waits.ended_or_after(request, to, id, wait_s=wait_s) if wait_s else await job_path.found(to, id)
    answer = await _shown(to, job)
    if preferred_s is not None:
        answer.headers.update(waits.applied(preferred_s))
    if etags.is_known(request, answer.headers["etag"]):
        headers = {name: answer.headers[name] for name in ("etag", "preference-applied") if name in answer.headers}
        return Response(status_code=304, headers=headers)
    return answer


@router.post(
    "/{id}/cancel",
    response_model=JobView,
    responses={
        **ERRORS,
        **UNKNOWN,
        **WRONG_STATE,
        **OUTDATED,
        202: {"model": JobView, "description": "it runs; its worker has been notified"},
    },
    dependencies=[Depends(auth.require("write"))],
    operation_id="cancel_job",
)
async def cancel_job(id: JobId, to: SharedDep, seen: SeenDep) -> Response:
    """Ends a job as `cancelled`: at once (200) if it does not run, else when its worker has stopped it (202)."""
    # this look decides which queue is asked; the job may change meanwhile, and the script looks again
    found = await job_path.found(to, id)
    answer = "ended"
    if found.queue in to.queues:
        answer = await in_time(to.queues[found.queue].cancel(id, seen=seen.revision(found)))
    job = await job_path.found(to, id)
    if answer == "changed":
        raise etags.outdated(job)
    if answer not in ("cancelled", "cancelling"):
        raise Problem(409, "wrong-state", f"Job {id} is {job.status}; only a job that has not ended can be cancelled.")
    return await _shown(to, job, status=200 if job.ended else 202, acted=True)


@router.post(
    "/{id}/retry",
    status_code=202,
    response_model=JobView,
    responses={**ERRORS, **UNKNOWN, **WRONG_STATE, **OUTDATED},
    dependencies=[Depends(auth.require("write"))],
    operation_id="retry_job",
)
async def retry_job(id: JobId, to: SharedDep, seen: SeenDep) -> Response:
    """Puts a failed or cancelled job again, with all of its tries; one that waits for its next try is due now."""
    found = await job_path.found(to, id)
    queue = _queue_of(to, found)
    if found.ended:
        answer: str = await in_time(to.replays.one(id, queue=queue.key, seen=seen.revision(found)))
    else:
        answer = await in_time(queue.retry(id, seen=seen.revision(found)))
    job = await job_path.found(to, id)
    if answer == "changed":
        raise etags.outdated(job)
    if answer == "bodiless":
        detail = f"Job {id} cannot be run again: its args were lost before they could be read."
        raise Problem(409, "nothing-to-retry", detail)
    if answer not in ("replayed", "retried"):
        state = f"{job.status} and has not been tried yet" if answer == "deferred" else job.status
        allowed = "only a job that has failed, was cancelled, or waits for its next try can be retried"
        raise Problem(409, "wrong-state", f"Job {id} is {state}; {allowed}.")
    return await _shown(to, job, status=202, acted=True)


@router.post(
    "/{id}/reschedule",
    response_model=JobView,
    responses={**ERRORS, **UNKNOWN, **WRONG_STATE, **OUTDATED},
    dependencies=[Depends(auth.require("write"))],
    operation_id="reschedule_job",
)
async def reschedule_job(id: JobId, to: SharedDep, when: NewTimeDep, seen: SeenDep) -> Response:
    """Makes a deferred or queued job due at another time: `delay` from now, or at `run_at`."""
    found = await job_path.found(to, id)
    queue = _queue_of(to, found)
    _check_in_time(found, when)
    answer = await in_time(
        queue.reschedule(id, delay_ms=when.delay_ms, run_at_ms=when.run_at_ms, seen=seen.revision(found))
    )
    job = await job_path.found(to, id)
    if answer == "changed":
        raise etags.outdated(job)
    if answer == "held":
        detail = f"Job {id} waits for other jobs, and is due when they have ended; it cannot be given another time."
        raise Problem(409, "wrong-state", detail)
    if answer != "rescheduled":
        detail = f"Job {id} is {job.status}; only a job that is deferred or queued can be given another time."
        raise Problem(409, "wrong-state", detail)
    return await _shown(to, job, acted=True)


@router.delete(
    "/{id}",
    status_code=204,
    responses={**ERRORS, **UNKNOWN, **WRONG_STATE, **OUTDATED},
    dependencies=[Depends(auth.require("write"))],
    operation_id="forget_job",
)
async def forget_job(id: JobId, to: SharedDep, seen: SeenDep) -> None:
    """Forgets an ended job: its result, its attempts, its entry among the dead jobs, and its files.

    An upload stays if another job that is known was put with it.
    """
    found = await job_path.found(to, id)
    if not (found.ended and await in_time(_queue_of(to, found).forget(id, seen=seen.revision(found)))):
        job = await job_path.found(to, id)
        if job.ended:
            raise etags.outdated(job)
        raise Problem(409, "wrong-state", f"Job {id} is {job.status}; only a job that has ended can be forgotten.")
    job_type = to.catalog.get(found.type)
    if job_type is not None and may_have_files(job_type):
        await to.job_files.forget(id, found.args)


def _check_in_time(job: JobSnapshot, when: When) -> None:
    """Raises Problem 409 if the job would have expired by then."""
    due_ms = timestamp_ms() + when.delay_ms if when.run_at_ms is None else when.run_at_ms
    may_expire = job.attempt == 0 and not job.ended
    if may_expire and job.expires_at_ms is not None and due_ms >= job.expires_at_ms:
        detail = f"Job {job.id} expires at {utc(job.expires_at_ms):%Y-%m-%dT%H:%M:%SZ}; choose a time before that."
        raise Problem(409, "expires-before", detail)


async def _shown(to: Shared, job: JobSnapshot, *, status: int = 200, acted: bool = False) -> Response:
    """The answer that shows a job, with why it waits; `acted` if the request's path is not the job's own."""
    answer = json_response(await full_view_of(to, job), status=status)
    answer.headers["ETag"] = etags.etag_of(job, bytes(answer.body))
    if acted:
        answer.headers["Content-Location"] = path_of(job.id, to.root_path)
    return answer


def _queue_of(to: Shared, job: JobSnapshot) -> JobQueue:
    if job.queue not in to.queues:
        detail = f"Job {job.id} is in the queue '{job.queue}', which no job type of this service uses."
        raise Problem(409, "queue-of-others", detail)
    return to.queues[job.queue]
