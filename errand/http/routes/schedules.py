"""`/v1/schedules`: job types that run again and again."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import AfterValidator, BaseModel, ValidationError

from errand.http.answers.job_view import AcceptedJobView, json_response
from errand.http.answers.problems import ERRORS, FaultyField, Problem, documented
from errand.http.answers.schedule_view import SchedulePage, ScheduleView, schedule_view
from errand.http.gates import auth
from errand.http.requests import json_body
from errand.http.requests.filters import MAX_ON_A_PAGE, PageAfter, PageLimit
from errand.http.requests.schedule_body import read_schedule, request_body
from errand.http.routes.enqueue import enqueue
from errand.http.shared import Shared, SharedDep, in_time
from errand.job.catalog import Catalog
from errand.job.job_type import JobType
from errand.job.schedule import SCHEDULE_ID
from errand.schedules.store import MAX_SCHEDULES, KeptSchedule
from errand.secrets import secret_args
from errand.wire.job_id import new_job_id

READS, WRITES = [Depends(auth.require("read"))], [Depends(auth.require("write"))]


router = APIRouter(prefix="/v1/schedules", tags=["schedules"])


UNKNOWN = documented({404: "no such schedule"})


CODES_OWN = documented({409: "it is defined in code, and changed there"})


FULL = documented({409: f"there are {MAX_SCHEDULES} schedules already, or the id is that of one defined in code"})


NOT_RUNNABLE = documented({409: "its type is not known any more, or its args do not fit it any more"})


def _check_id(text: str) -> str:
    if not SCHEDULE_ID.fullmatch(text):
        raise ValueError("must be 1 to 64 letters, digits, '-' and '_'")
    return text


ScheduleId = Annotated[
    str,
    AfterValidator(_check_id),
    Path(
        description="the schedule's id",
        examples=["nightly-report"],
        json_schema_extra={"pattern": f"^{SCHEDULE_ID.pattern}$"},
    ),
]


@router.get("", response_model=SchedulePage, responses=ERRORS, dependencies=READS, operation_id="list_schedules")
async def list_schedules(
    to: SharedDep,
    limit: PageLimit = MAX_ON_A_PAGE,
    cursor: PageAfter = "",
) -> Response:
    """All schedules, in the order of their ids, a page at a time."""
    kept, after = await in_time(to.schedules.page(after=cursor, most=limit))
    views = []
    for schedule in kept:
        views.append(schedule_view(schedule, to.catalog, root_path=to.root_path))
        # to work out the next times of a whole page would hold up other requests
        await asyncio.sleep(0)
    following = None if after is None else f"{to.root_path}/v1/schedules?limit={limit}&cursor={after}"
    return json_response(SchedulePage(schedules=views, next=following))


@router.get(
    "/{id}",
    response_model=ScheduleView,
    responses={**ERRORS, **UNKNOWN},
    dependencies=READS,
    operation_id="get_schedule",
)
async def get_schedule(id: ScheduleId, to: SharedDep) -> Response:
    """One schedule: its next five times, and the job that its last time became."""
    return json_response(schedule_view(await found(to, id), to.catalog, root_path=to.root_path))


@router.delete(
    "/{id}",
    status_code=204,
    response_class=Response,
    responses={**ERRORS, **UNKNOWN, **CODES_OWN},
    dependencies=WRITES,
    operation_id="delete_schedule",
)
async def delete_schedule(id: ScheduleId, to: SharedDep) -> Response:
    """Ends a schedule. Jobs that it has put stay."""
    gone = False
    while not gone:
        kept = await found(to, id)
        if kept.source == "code" and kept.type in to.catalog:
            raise _codes_own(id, "removed")
        # not if it was given another definition since: that may be the code's
        gone = await in_time(to.schedules.remove(kept))
    return Response(status_code=204)


@router.post(
    "/{id}/pause",
    response_model=ScheduleView,
    responses={**ERRORS, **UNKNOWN},
    dependencies=WRITES,
    operation_id="pause_schedule",
)
async def pause_schedule(id: ScheduleId, to: SharedDep) -> Response:
    """Lets its times pass without a job until it is resumed."""
    return _shown(to, await in_time(to.schedules.pause(id)), id)


@router.post(
    "/{id}/resume",
    response_model=ScheduleView,
    responses={**ERRORS, **UNKNOWN},
    dependencies=WRITES,
    operation_id="resume_schedule",
)
async def resume_schedule(id: ScheduleId, to: SharedDep) -> Response:
    """Ends a pause. The times that passed meanwhile are not made up for."""
    return _shown(to, await in_time(to.schedules.resume(id)), id)


@router.post(
    "/{id}/trigger",
    response_model=AcceptedJobView,
    status_code=202,
    responses={**ERRORS, **UNKNOWN, **NOT_RUNNABLE},
    dependencies=WRITES,
    operation_id="trigger_schedule",
)
async def trigger_schedule(id: ScheduleId, to: SharedDep) -> Response:
    """Puts a job as the schedule would, now, paused or not. Its own times stay as they are."""
    kept = await found(to, id)
    job_type, args = _known(to.catalog, kept)
    return await enqueue(to, job_type, secret_args.kept(args), queue=kept.schedule.queue, shows_args=to.may_read)


def defining(catalog: Catalog) -> APIRouter:
    """The two routes that take a definition; their examples are of the catalog's types."""
    routes, body = APIRouter(prefix="/v1/schedules", tags=["schedules"], dependencies=WRITES), request_body(catalog)

    @routes.post(
        "",
        response_model=ScheduleView,
        status_code=201,
        responses={**ERRORS, **FULL},
        operation_id="create_schedule",
        openapi_extra=body,
    )
    async def create_schedule(request: Request, to: SharedDep) -> Response:
        """Makes a schedule with an id of its own. To be able to repeat the request, choose one and PUT it."""
        return await put(to, new_job_id(), await json_body.read(request))

    @routes.put(
        "/{id}",
        response_model=ScheduleView,
        responses={**ERRORS, **FULL, 201: {"model": ScheduleView, "description": "it is new"}},
        operation_id="put_schedule",
        openapi_extra=body,
    )
    async def put_schedule(id: ScheduleId, request: Request, to: SharedDep) -> Response:
        """Makes the schedule of that id, or gives it another definition; the same one again changes nothing."""
        return await put(to, id, await json_body.read(request))

    return routes


async def put(to: Shared, schedule_id: str, raw: Any) -> Response:
    """Keeps the schedule that this JSON describes under that id. Raises Problem 409 or 422."""
    type_name, schedule = read_schedule(to.catalog, raw)
    try:
        answer = await in_time(to.schedules.put(schedule_id, type_name, schedule, source="http"))
    except ValueError as error:
        raise json_body.invalid("body.args", str(error)) from None
    if answer == "other source":
        raise _codes_own(schedule_id, "changed")
    if answer == "full":
        detail = f"There are {MAX_SCHEDULES} schedules, which is the most there may be. Delete one that is not needed."
        raise Problem(409, "too-many-schedules", detail)
    view = schedule_view(await found(to, schedule_id), to.catalog, root_path=to.root_path)
    created = answer == "created"
    headers = {"Location": view.links["self"]} if created else None
    return json_response(view, status=201 if created else 200, headers=headers)


def _known(catalog: Catalog, kept: KeptSchedule) -> tuple[JobType[Any, Any], BaseModel]:
    """The job type and the args that its jobs have now. Raises Problem 409 if the code has changed too much."""
    job_type = catalog.get(kept.type)
    if job_type is None:
        raise Problem(409, "unfit-schedule", f"This service knows no job type '{kept.type}' any more.")
    if kept.schedule.queue is not None and kept.schedule.queue not in catalog.queues:
        raise Problem(409, "unfit-schedule", f"This service knows no queue '{kept.schedule.queue}' any more.")
    try:
        args = job_type.read_args(kept.schedule.args)
    except ValidationError as error:
        faults = json_body.faults_of(error, "args", hide=job_type.hider(kept.schedule.args))
        raise Problem(
            409,
            "unfit-schedule",
            f"The args of schedule {kept.id} do not fit {kept.type} any more. Define it anew.",
            errors=[FaultyField(field=".".join(map(str, fault["loc"][1:])), message=fault["msg"]) for fault in faults],
        ) from None
    return job_type, args


async def found(to: Shared, schedule_id: str) -> KeptSchedule:
    """The schedule of that id. Raises Problem 404."""
    kept = await in_time(to.schedules.read(schedule_id))
    if kept is None:
        raise _unknown(schedule_id)
    return kept


def _shown(to: Shared, kept: KeptSchedule | None, schedule_id: str) -> Response:
    if kept is None:
        raise _unknown(schedule_id)
    view = schedule_view(kept, to.catalog, root_path=to.root_path)
    if not to.may_read:
        view = view.model_copy(update={"args": {}, "problem": None})
    return json_response(view)


def _unknown(schedule_id: str) -> Problem:
    return Problem(404, "unknown-schedule", f"There is no schedule '{schedule_id}'.")


def _codes_own(schedule_id: str, verb: str) -> Problem:
    detail = f"Schedule {schedule_id} is defined in code, to be {verb} there. It can be paused, resumed and triggered."
    return Problem(409, "defined-in-code", detail)
