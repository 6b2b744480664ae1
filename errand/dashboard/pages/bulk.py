"""Acts on many jobs: a look at what would be done, then a run with its progress and a way to stop."""

from __future__ import annotations

import asyncio
import typing
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from fastapi import Depends, Request, Response
from starlette.datastructures import QueryParams

from errand.dashboard import gate
from errand.dashboard.bulk import run as bulk
from errand.dashboard.bulk.run import Action, BulkRun
from errand.dashboard.forms import Form, FormDep, done
from errand.dashboard.page_route import page_router
from errand.dashboard.pages.job_actions import time_in
from errand.dashboard.pages.jobs import filter_in
from errand.dashboard.rendering import base_path, page
from errand.http.answers.problems import Problem
from errand.http.requests import json_body
from errand.http.shared import Shared, SharedDep
from errand.job.when import AT_ONCE

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
    count, more = await bulk.counted(await _ids(to, form))
    return page(
        request,
        "bulk.html.j2",
        action=_action(form),
        ids=_chosen(form),
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
    if len(_running) >= MAX_RUNS:
        raise Problem(503, "too-many-runs", f"{MAX_RUNS} such runs are under way; wait for one of them, or stop it.")
    action, ids = _action(form), await _ids(to, form)
    when = time_in(form.get("delay"), form.get("run_at")) if action == "reschedule" else AT_ONCE
    run = BulkRun(action=action, by=gate.viewer_of(request).name)
    await bulk.begin(to, run)
    _keep(bulk.act(to, run, ids, per_second=_pace(form), when=when))
    return done(request, f"{base_path(request)}/bulk/{run.id}")


@router.get("/{id}", dependencies=[Depends(gate.may_look)])
async def show(id: str, request: Request, to: SharedDep) -> Response:
    """How far it is."""
    run = await bulk.read_run(to, id[:64])
    if run is None:
        raise Problem(404, "unknown-run", "There is no such run, or it was more than a day ago.")
    return page(request, "bulk_run.html.j2", run=run)


@router.post("/{id}/stop", dependencies=WRITES, operation_id="stop_acting_on_many_jobs")
async def stop(id: str, request: Request, to: SharedDep) -> Response:
    """Has it stop before its next job."""
    await bulk.stop(to, id[:64])
    return done(request, f"{base_path(request)}/bulk/{id[:64]}")


async def _ids(to: Shared, form: Form) -> AsyncIterator[str]:
    """Those that were chosen, or all that match the list's own filter."""
    if form.get("all"):
        return bulk.matching(to, await filter_in(to, QueryParams(parse_qsl(form.get("query")))))
    ids = _chosen(form)
    if not ids:
        raise json_body.invalid("id", "choose at least one job, or all that match")
    return bulk.chosen(ids)


def _chosen(form: Form) -> list[str]:
    return [] if form.get("all") else [job_id for job_id in form.all("id") if job_id]


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


def _keep(acting: typing.Coroutine[None, None, None]) -> None:
    """A task that nobody holds may be collected before it ends."""
    task = asyncio.create_task(acting)
    _running.add(task)
    task.add_done_callback(_running.discard)
