"""The schedules: when each comes next, what became of the last time; made, edited, paused, triggered, deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cronsim import CronSim
from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError

from errand.dashboard import gate
from errand.dashboard.forms import Form, FormDep, done
from errand.dashboard.page_route import page_router
from errand.dashboard.pages.jobs import job_path
from errand.dashboard.rendering import base_path, page
from errand.dashboard.wording import of_ms
from errand.http.answers.schedule_view import ScheduleView, schedule_view
from errand.http.requests import json_body
from errand.http.routes import schedules
from errand.http.routes.schedules import ScheduleId
from errand.http.shared import Shared, SharedDep, in_time
from errand.job.schedule import SCHEDULE_ID
from errand.monitor.job_snapshot import JobSnapshot
from errand.monitor.several_jobs import find_jobs
from errand.wire import keys
from errand.wire.job_id import new_job_id

ROWS = 50

FIELDS = ("type", "cron", "timezone", "misfire", "grace_s", "jitter_s", "queue", "enforce")
"""All that a definition has beside its args: what the form lacked, a change by it would set back."""

router = page_router("/schedules")

WRITES = [Depends(gate.may_act("write"))]


@router.get("", dependencies=[Depends(gate.may_look)])
async def list_schedules(request: Request, to: SharedDep) -> Response:
    """All of them, in the order of their ids, a page at a time."""
    kept, after = await in_time(to.schedules.page(after=request.query_params.get("after", ""), most=ROWS))
    views = [schedule_view(schedule, to.catalog, root_path=to.root_path) for schedule in kept]
    words, last = {view.id: in_words(view.cron) for view in views}, await _last_jobs(to, views)
    return page(request, "schedules.html.j2", schedules=views, words=words, last=last, after=after)


@router.get("/new", dependencies=[Depends(gate.may_look)])
async def new_schedule(request: Request, to: SharedDep) -> Response:
    """An empty form."""
    given = {"timezone": "UTC", "misfire": "skip", "args": "{}", "type": request.query_params.get("type", "")}
    return _form(request, to, "", given, is_new=True)


@router.get("/{id}", dependencies=[Depends(gate.may_look)])
async def show_schedule(id: ScheduleId, request: Request, to: SharedDep) -> Response:
    """One schedule, with the form that changes it."""
    view = schedule_view(await schedules.found(to, id), to.catalog, root_path=to.root_path)
    given = {name: str(value) for name in FIELDS if (value := getattr(view, name)) is not None}
    given["args"] = json.dumps(view.args, indent=2, default=str)
    return _form(request, to, id, given, shown=view, last=(await _last_jobs(to, [view])).get(id))


@router.post("", dependencies=WRITES, operation_id="put_schedule")
async def put_schedule(request: Request, to: SharedDep, form: FormDep) -> Response:
    """Makes the schedule in the form, or gives it another definition."""
    schedule_id = form.get("id") or new_job_id()
    if not SCHEDULE_ID.fullmatch(schedule_id):
        raise json_body.invalid("id", "must be 1 to 64 letters, digits, '-' and '_'")
    try:
        if form.get("new") and await in_time(to.schedules.read(schedule_id)) is not None:
            raise RequestValidationError([{"type": "taken", "loc": ("body", "id"), "msg": "another schedule has it"}])
        await schedules.put(to, schedule_id, _definition(form))
    except RequestValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
        given = {name: form.get(name) for name in (*FIELDS, "args")}
        return _form(request, to, form.get("id"), given, faults=faults, is_new=bool(form.get("new")))
    return done(request, f"{base_path(request)}/schedules/{schedule_id}")


@router.post("/{id}/pause", dependencies=WRITES, operation_id="pause_schedule")
async def pause(id: ScheduleId, request: Request, to: SharedDep, form: FormDep) -> Response:
    """Lets its times pass without a job."""
    await schedules.pause_schedule(id, to)
    return done(request, form.get("back"))


@router.post("/{id}/resume", dependencies=WRITES, operation_id="resume_schedule")
async def resume(id: ScheduleId, request: Request, to: SharedDep, form: FormDep) -> Response:
    """Ends a pause."""
    await schedules.resume_schedule(id, to)
    return done(request, form.get("back"))


@router.post("/{id}/trigger", dependencies=WRITES, operation_id="trigger_schedule")
async def trigger(id: ScheduleId, request: Request, to: SharedDep) -> Response:
    """Puts a job as the schedule would, now, and leads to it."""
    answer = await schedules.trigger_schedule(id, to)
    return done(request, f"{job_path(request, json.loads(bytes(answer.body))['id'])}?done=put")


@router.post("/{id}/delete", dependencies=WRITES, operation_id="delete_schedule")
async def delete(id: ScheduleId, request: Request, to: SharedDep) -> Response:
    """Ends a schedule."""
    await schedules.delete_schedule(id, to)
    return done(request, f"{base_path(request)}/schedules")


async def _last_jobs(to: Shared, views: Sequence[ScheduleView]) -> dict[str, JobSnapshot]:
    """The job of each schedule's last time, by the schedule's id; those that are no longer kept are left out."""
    fired = [
        (view.id, keys.queue(view.queue or to.catalog[view.type].queue), view.last_fire.job_id)
        for view in views
        if view.last_fire is not None and (view.queue or view.type in to.catalog)
    ]
    if not fired:
        return {}
    jobs = await in_time(find_jobs(to.clients, [(queue, job_id) for _, queue, job_id in fired]))
    return {schedule_id: job for (schedule_id, *_), job in zip(fired, jobs, strict=True) if job is not None}


def in_words(cron: str) -> str:
    """The expression in plain words; empty if there are none for it."""
    try:
        return str(CronSim(cron, of_ms(0)).explain())
    except Exception:  # noqa: BLE001  # of a library that explains what it can: the expression itself is shown too
        return ""


def _definition(form: Form) -> dict[str, Any]:
    """The JSON that the API would be sent. Raises RequestValidationError for args that are no JSON."""
    given: dict[str, Any] = {name: form.get(name) for name in FIELDS if form.get(name)}
    try:
        return {**given, "args": json_body.parsed(form.get("args").encode() or b"{}")}
    except ValueError as error:
        fault = {"type": "json", "loc": ("body", "args"), "msg": f"is not valid JSON: {error}"}
        raise RequestValidationError([fault]) from None


def _form(
    request: Request,
    to: SharedDep,
    schedule_id: str,
    given: Mapping[str, str],
    *,
    shown: ScheduleView | None = None,
    last: JobSnapshot | None = None,
    faults: list[str] | None = None,
    is_new: bool = False,
) -> Response:
    return page(
        request,
        "schedule.html.j2",
        status=422 if faults else 200,
        id=schedule_id,
        given={name: given.get(name, "") for name in (*FIELDS, "args")},
        schedule=shown,
        is_new=is_new,
        last=last,
        words=in_words(shown.cron) if shown else "",
        faults=faults or [],
        types=sorted(to.catalog),
        queues=list(to.queues),
    )
