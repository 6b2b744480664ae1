"""Acts on many jobs: a look at what would be done, then a run with its progress and a way to stop."""

from __future__ import annotations

import asyncio
import typing
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, Request, Response
from starlette.datastructures import QueryParams

from errand.dashboard import gate
from errand.dashboard.bulk import kept
from errand.dashboard.bulk import run as bulk
from errand.dashboard.bulk.kept import Action, BulkRun
from errand.dashboard.forms import Form, FormDep, done
from errand.dashboard.page_route import page_router
from errand.dashboard.pages.job_actions import time_in
from errand.dashboard.pages.jobs import filter_in
from errand.dashboard.rendering import base_path, page
from errand.http.answers.problems import Problem
from errand.http.requests import json_body
from errand.http.routes.job_list import query_of
from errand.http.shared import Shared, SharedDep
from errand.job.when import AT_ONCE
from errand.monitor.timeline import JobFilter

router = page_router("/bulk")

WRITES = [Depends(gate.may_act("write"))]

ACTIONS: tuple[Action, ...] = typing.get_args(Action)

STATES = {"retry": "failed or cancelled", "cancel": "not ended", "delete": "ended", "reschedule": "waiting"}
"""What a job must be for each; others are skipped."""

DEFAULT_PER_SECOND, MAX_PER_SECOND = 100, 1_000

MAX_RUNS = 8
"""At once, of one API process."""

_running: set[asyncio.Task[None]] = set()


@router.post("", dependencies=WRITES)
async def look(request: Request, to: SharedDep, form: FormDep) -> Response:
    """What would be done: nothing is, yet."""
    filter, ids = await _jobs(request, to, form)
    count, more = (len(ids), False) if filter is None else await bulk.counted(to, filter)
    return page(
        request,
        "bulk.html.j2",
        action=_action(form),
        ids=ids,
        query=form.get("query"),
        count=count,
        more=more,
        state=STATES[_action(form)],
        per_second=DEFAULT_PER_SECOND,
        most_per_second=MAX_PER_SECOND,
    )


@router.post("/run", dependencies=WRITES, operation_id="act_on_many_jobs")
async def start(request: Request, to: SharedDep, form: FormDep) -> Response:
    """Begins, and leads to the page that shows how far it is."""
    _check_room()
    filter, ids = await _jobs(request, to, form)
    action = _action(form)
    when = time_in(form.get("delay"), form.get("run_at")) if action == "reschedule" else AT_ONCE
    by = gate.viewer_of(request).name
    run = BulkRun(action=action, by=by, per_second=_pace(form), when=when, filter=filter, left=ids)
    await bulk.begin(to, run)
    return _acting(request, to, run)


@router.get("/{id}", dependencies=[Depends(gate.may_look)])
async def show(id: str, request: Request, to: SharedDep) -> Response:
    """How far it is."""
    run = await _found(to, id)
    return page(request, "bulk_run.html.j2", run=run, query=urlencode(query_of(run.filter)) if run.filter else "")


@router.post("/{id}/stop", dependencies=WRITES, operation_id="stop_acting_on_many_jobs")
async def stop(id: str, request: Request, to: SharedDep) -> Response:
    """Has it stop before its next job."""
    run = await _found(to, id)
    await kept.stop(to, run)
    return done(request, _path(request, run))


@router.post("/{id}/go-on", dependencies=WRITES, operation_id="go_on_acting_on_many_jobs")
async def go_on(id: str, request: Request, to: SharedDep) -> Response:
    """Goes on with one that was stopped, or that ended with its process, where it stopped."""
    _check_room()
    run = await _found(to, id)
    if run.runs or run.ended == "finished":
        raise Problem(409, "run-not-stopped", "This run has not stopped: there is nothing to go on with.")
    await kept.take_over(to, run)
    return _acting(request, to, run)


async def _found(to: Shared, run_id: str) -> BulkRun:
    run = await kept.read_run(to, run_id[:64])
    if run is None:
        raise Problem(404, "unknown-run", "There is no such run, or it was more than a day ago.")
    return run


async def _jobs(request: Request, to: Shared, form: Form) -> tuple[JobFilter | None, list[str]]:
    """The list's own filter for all that match, or the ids of those that were chosen.

    Raises Problem 403 for a filter of a key without `read`, which may act on jobs whose ids it knows.
    """
    if form.get("all"):
        gate.check_reads(request)
        return await filter_in(to, QueryParams(parse_qsl(form.get("query")))), []
    ids = [job_id for job_id in form.all("id") if job_id]
    if not ids:
        raise json_body.invalid("id", "choose at least one job, or all that match")
    return None, ids


def _action(form: Form) -> Action:
    """Raises Problem 422."""
    given = form.get("action")
    if given not in ACTIONS:
        raise json_body.invalid("action", f"must be one of {', '.join(ACTIONS)}")
    return given


def _pace(form: Form) -> float:
    """Raises Problem 422."""
    try:
        pace = float(form.get("per_second") or DEFAULT_PER_SECOND)
    except ValueError:
        pace = 0
    if not 0.01 <= pace <= MAX_PER_SECOND:
        raise json_body.invalid("per_second", f"must be a number from 0.01 to {MAX_PER_SECOND}")
    return pace


def _check_room() -> None:
    if len(_running) >= MAX_RUNS:
        raise Problem(503, "too-many-runs", f"{MAX_RUNS} such runs are under way; wait for one of them, or stop it.")


def _acting(request: Request, to: Shared, run: BulkRun) -> Response:
    """Begins, and leads to the page of the run. A task that nobody holds may be collected before it ends."""
    task = asyncio.create_task(bulk.act(to, run))
    _running.add(task)
    task.add_done_callback(_running.discard)
    return done(request, _path(request, run))


def _path(request: Request, run: BulkRun) -> str:
    return f"{base_path(request)}/bulk/{run.id}"
