"""One job: its state and why it waits, its args and result, its attempts, and what can be done with it."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from errand.dashboard import gate
from errand.dashboard.charts import attempts
from errand.dashboard.made.deliveries import deliveries_of
from errand.dashboard.made.pictures import pictures_of
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import page
from errand.http.answers.job_view import JobView, json_response
from errand.http.requests import job_path
from errand.http.requests.job_path import JobId
from errand.http.scope import root_path
from errand.http.shared import Shared, SharedDep, full_view_of, in_time
from errand.monitor.children import children_of
from errand.monitor.job_snapshot import JobSnapshot

if TYPE_CHECKING:
    from errand.dashboard.made.letter import ShownLetter

CURL_LIMIT_CHARS = 4_000

MAX_CHILDREN = 50

DONE = {
    "cancelled": "The job is cancelled, or its worker has been asked to stop it.",
    "retried": "The job is put again.",
    "rescheduled": "The job has another time now.",
    "due": "The job is due now.",
    "put": "The job is in the queue.",
}
"""What is said of an action that led back here."""

router = page_router()


@router.get("/jobs/{id}", dependencies=[Depends(gate.may_look)])
async def show_job(id: JobId, request: Request, to: SharedDep) -> Response:
    """The page of one job."""
    job = await job_path.found(to, id)
    view = await full_view_of(to, job)
    known = to.catalog.get(job.type)
    return page(
        request,
        "job.html.j2",
        job=view,
        timeline=attempts.drawn(view),
        letter=await _letter(request, to, job),
        pictures=pictures_of(job.result),
        deliveries=await deliveries_of(to, job),
        parent=job.flow.parent,
        **await _children(to, view),
        curl=_curl(request, view) if known and not known.file_field else None,
        known=known is not None,
        done=DONE.get(request.query_params.get("done", "")),
    )


@router.get("/jobs/{id}/json", dependencies=[Depends(gate.may_look)])
async def show_job_json(id: JobId, to: SharedDep) -> Response:
    """The job as the API answers it: whole."""
    job = await job_path.found(to, id)
    view: BaseModel = await full_view_of(to, job)
    return json_response(view, headers={"Content-Disposition": "inline"})


async def _letter(request: Request, to: Shared, job: JobSnapshot) -> ShownLetter | None:
    """None for most jobs: what letters need is loaded only where types send them, by `errand[mail]`."""
    if job.type not in to.letter_types:
        return None
    from errand.dashboard.made.letter import letter_of
    from errand.http.routes.dev_mail import letters_folder

    return await letter_of(to, job, letters_folder(request, to))


async def _children(to: Shared, view: JobView) -> dict[str, Any]:
    """The first of the jobs that this one has put, or waits for, and whether there are more."""
    if "children" not in view.links:
        return {"children": [], "more_children": False}
    redis = await in_time(to.partitions.having(view.id))
    found = await in_time(children_of(redis, view.id, first=0, limit=MAX_CHILDREN))
    return {"children": found.jobs, "more_children": found.next is not None}


def _curl(request: Request, job: JobView) -> str | None:
    """A command that puts a job like this one; None if it would be too long to read."""
    url = f"{request.url.scheme}://{request.url.netloc}{root_path(request.scope)}/v1/jobs/{job.type}"
    body = json.dumps(job.args, default=str)
    key = " -H 'Authorization: Bearer YOUR_KEY'" if request.app.state.settings.api_keys else ""
    command = f"curl{key} {shlex.quote(url)} -H content-type:application/json -d {shlex.quote(body)}"
    return command if len(command) <= CURL_LIMIT_CHARS else None
