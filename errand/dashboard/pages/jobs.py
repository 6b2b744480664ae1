"""The list of jobs: newest first, filtered, page by page."""

from __future__ import annotations

import typing
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import QueryParams

from errand.dashboard import gate, search
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import base_path, page
from errand.http.answers.job_view import PLAIN
from errand.http.requests import json_body
from errand.http.routes.job_list import job_filter, job_page, query_of
from errand.http.shared import Shared, SharedDep
from errand.job.when import Moment
from errand.monitor.job_snapshot import Status
from errand.monitor.timeline import JobFilter

ROWS = 50

STATUSES: tuple[Status, ...] = typing.get_args(Status)

PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}
"""For the list of the last hour, day, week."""

MAX_SOUGHT_CHARS = 200

router = page_router()


@router.get("/jobs", dependencies=[Depends(gate.may_look)])
async def list_jobs(request: Request, to: SharedDep) -> Response:
    """Jobs of all queues; `find` leads to the job with that id or unique key, or lists those whose args have it."""
    given = {name: value for name, value in request.query_params.items() if value}
    sought, cursor = given.get("find", "").strip()[:MAX_SOUGHT_CHARS], given.get("cursor")
    if sought and cursor is None and (job_id := await search.named(to, sought)):
        return RedirectResponse(job_path(request, job_id), status_code=303)
    filter = await filter_in(to, request.query_params)
    if sought:
        shown = await search.containing(to, sought, filter, limit=ROWS, cursor=cursor)
    else:
        shown = await job_page(to, filter, limit=ROWS, cursor=cursor)
    return page(
        request,
        "jobs.html.j2",
        jobs=shown.jobs,
        filter=filter,
        statuses=STATUSES,
        types=sorted(to.catalog),
        queues=list(to.queues),
        sought=sought,
        since=_moment(given.get("since"), "query.since"),
        until=_moment(given.get("until"), "query.until"),
        query=urlencode(query_of(filter)),
        most_searched=search.MAX_SEARCHED,
        first=_list_path(request, filter, find=sought) if cursor else None,
        next=_list_path(request, filter, find=sought, cursor=shown.cursor) if shown.cursor else None,
    )


def job_path(request: Request, job_id: str) -> str:
    """The path of a job's page."""
    return f"{base_path(request)}/jobs/{quote(job_id, safe=PLAIN, errors='replace')}"


async def filter_in(to: Shared, query: QueryParams) -> JobFilter:
    """The filter in the query, in which a field of the form may be empty. Raises Problem 422."""
    given = {name: value for name, value in query.items() if value}
    statuses = [status for status in query.getlist("status") if status]
    if unknown := [status for status in statuses if status not in STATUSES]:
        raise json_body.invalid("query.status", f"{unknown[0][:50]} is none of {', '.join(STATUSES)}")
    since = _moment(given.get("since"), "query.since")
    if period := PERIODS.get(given.get("within", "")):
        since = datetime.now(UTC) - period
    return await job_filter(
        to,
        type=given.get("type"),
        status=typing.cast(list[Status], statuses),
        queue=given.get("queue"),
        since=since,
        until=_moment(given.get("until"), "query.until"),
    )


def _moment(text: str | None, field: str) -> Any:
    """A time in the query: RFC 3339, or as a browser's field gives it, which then is UTC."""
    if not text:
        return None
    try:
        return _MOMENT.validate_python(text)
    except ValidationError:
        pass
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise json_body.invalid(field, "must be a time, such as 2026-11-01T00:00:00Z") from None


_MOMENT: TypeAdapter[Any] = TypeAdapter(Moment)


def _list_path(request: Request, filter: JobFilter, *, find: str = "", cursor: str | None = None) -> str:
    more = {name: value for name, value in (("find", find), ("cursor", cursor)) if value}
    query = urlencode([*query_of(filter), *more.items()])
    return f"{base_path(request)}/jobs{f'?{query}' if query else ''}"
