"""`GET /v1/jobs`: lists the jobs of all queues on one timeline, page by page."""

from __future__ import annotations

import hashlib
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from arq.utils import to_unix_ms
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from errand.http.answers.job_view import (
    ErrorView,
    JobHead,
    error_view,
    json_response,
    links_of,
    path_of,
    utc,
    utc_or_none,
)
from errand.http.answers.problems import ERRORS, Problem
from errand.http.gates import auth
from errand.http.requests import job_path, json_body
from errand.http.requests.filters import QueueName, TypeName, check_queue
from errand.http.requests.job_path import JOB_ID, UNKNOWN, JobId
from errand.http.shared import Shared, SharedDep, in_time
from errand.job.when import Moment
from errand.monitor.children import children_of
from errand.monitor.job_snapshot import JobSnapshot, Status
from errand.monitor.timeline import JobFilter, Matches, PageStart, Position

MAX_PAGE = 500


DEFAULT_PAGE = 50


CURSOR_VERSION = "1"


CURSOR_EXAMPLE = (
    "MSBlM2IwYzQ0Mjk4ZmMgMTc5NTIyMjU1NTYwMC4wIDE3OTUyMjI1NTU1MTguMCAwMWExZmIzZS1jOWI2LTdiYTEtYTZjZi1mZWJjNTEyMTkyMTk"
)


CHILDREN_CURSOR_EXAMPLE = "YzUw"


MAX_DIGITS = 12


MAX_ID_BYTES = 1_000
"""A longer id, which only a stock producer can give, is cut: its beginning marks the position well enough."""


router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class ListedJobView(JobHead):
    """A job in a list: without its args, result and attempts, which `links.self` leads to. Times are UTC."""

    error: ErrorView | None = Field(description="of an ended job, without its traceback")
    enqueued_at: datetime
    run_at: datetime | None = Field(description="when it is, or was last, due")
    started_at: datetime | None = Field(description="when its latest attempt began; null while it waits")
    finished_at: datetime | None
    expires_at: datetime | None = Field(
        description="if no attempt has started by then, it fails; null if it never expires"
    )
    links: dict[str, str]


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[ListedJobView] = Field(description="may be fewer than `limit`, or none, although others follow")
    next: str | None = Field(
        description="the next page; null at the end", examples=[f"/v1/jobs?status=failed&cursor={CURSOR_EXAMPLE}"]
    )
    cursor: str | None = Field(description="for the next page, together with the same filters; null at the end")


async def job_filter(
    to: SharedDep,
    type: Annotated[TypeName | None, Query(description="only of this type", examples=["webhook"])] = None,
    status: Annotated[
        list[Status] | None,
        Query(
            max_length=20,
            description="only in this state; may be given several times for one of several",
            examples=[["failed"]],
        ),
    ] = None,
    queue: Annotated[QueueName | None, Query(description="only of this queue", examples=["default"])] = None,
    since: Annotated[
        Moment | None,
        Query(description="only from this moment of the timeline on, RFC 3339", examples=["2026-11-01T00:00:00Z"]),
    ] = None,
    until: Annotated[
        Moment | None, Query(description="only before this moment of the timeline", examples=["2026-12-01T00:00:00Z"])
    ] = None,
) -> JobFilter:
    """The filter in the query."""
    check_queue(to, queue, field="query.queue")
    return JobFilter(
        type=type,
        statuses=frozenset(status or ()),
        queue=queue,
        since_ms=None if since is None else to_unix_ms(since),
        until_ms=None if until is None else to_unix_ms(until),
    )


LINK: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Link": {
                "description": 'the next page, as `<…>; rel="next"` (RFC 8288); absent at the end',
                "schema": {"type": "string"},
            }
        }
    }
}


@router.get(
    "",
    response_model=JobPage,
    responses={**ERRORS, **LINK},
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_jobs",
)
async def list_jobs(
    to: SharedDep,
    filter: Annotated[JobFilter, Depends(job_filter)],
    limit: Annotated[
        int, Query(ge=1, le=MAX_PAGE, description="how many at most", examples=[DEFAULT_PAGE])
    ] = DEFAULT_PAGE,
    cursor: Annotated[
        str | None,
        Query(max_length=2_000, description="of the page before, with the same filters", examples=[CURSOR_EXAMPLE]),
    ] = None,
) -> Response:
    """Jobs of all queues, newest first.

    An ended job stands at the moment it ended, any other at the moment when it is, or was, due: planned jobs come
    first, then those due or running, then those that have ended. `since` and `until` refer to that moment too. A job
    must match all filters that are given.

    Follow `next`, or the `Link` header, until it is null. While nothing changes, each job comes once. While jobs run,
    none comes twice, and one that starts or ends between two pages may come in neither. A page costs the same wherever
    it is and however many jobs there are. It looks at 1,000 jobs at most: with `type`, for which waiting jobs must be
    read, it may hold few jobs, or none, although others follow. There are no total counts; `GET /v1/queues` counts
    what waits. A job that a stock `arq.Worker` runs is listed until it has ended, but not by `status=in_progress`.
    """
    page = await job_page(to, filter, limit=limit, cursor=cursor)
    return json_response(page, headers={"Link": f'<{page.next}>; rel="next"'} if page.next else None)


class ChildrenPage(BaseModel):
    """Jobs, in the order in which they were put."""

    jobs: list[ListedJobView] = Field(
        description="may be fewer than `limit`: those that have been forgotten are left out"
    )
    next: str | None = Field(
        description="the next page; null at the end",
        examples=[f"/v1/jobs/{JOB_ID}/children?cursor={CHILDREN_CURSOR_EXAMPLE}"],
    )
    cursor: str | None = Field(description="for the next page; null at the end")


@router.get(
    "/{id}/children",
    response_model=ChildrenPage,
    responses={**ERRORS, **UNKNOWN, **LINK},
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_children",
)
async def list_children(
    id: JobId,
    to: SharedDep,
    limit: Annotated[
        int, Query(ge=1, le=MAX_PAGE, description="how many at most", examples=[DEFAULT_PAGE])
    ] = DEFAULT_PAGE,
    cursor: Annotated[
        str | None, Query(max_length=100, description="of the page before", examples=[CHILDREN_CURSOR_EXAMPLE])
    ] = None,
) -> Response:
    """The jobs that a job has put by its success, its next step among them, or that it waits for as its group.

    In the order in which they were put; jobs that are put later come later. Follow `next`, or the `Link` header, until
    it is null. The list is kept as long as the job is.
    """
    await job_path.found(to, id)
    first = 0 if cursor is None else _number_in(cursor)
    redis = await in_time(to.partitions.having(id))
    page = await in_time(children_of(redis, id, first=first, limit=limit))
    next_cursor = None if page.next is None else urlsafe_b64encode(f"c{page.next}".encode()).rstrip(b"=").decode()
    query = urlencode([("limit", limit), ("cursor", next_cursor)])
    next_ = next_cursor and f"{path_of(id, to.root_path)}/children?{query}"
    view = ChildrenPage(jobs=[_view(job, to) for job in page.jobs], next=next_, cursor=next_cursor)
    return json_response(view, headers={"Link": f'<{next_}>; rel="next"'} if next_ else None)


def _number_in(cursor: str) -> int:
    """Raises Problem 422 for a text that is no cursor of this list."""
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        raise _no_cursor("query.cursor") from None
    if not (text[:1] == "c" and text[1:].isdigit() and len(text) <= MAX_DIGITS):
        raise _no_cursor("query.cursor")
    return int(text[1:])


async def job_page(
    to: Shared, filter: JobFilter, *, limit: int, cursor: str | None = None, matches: Matches | None = None
) -> JobPage:
    """The page of the list that begins at that cursor. Raises Problem 422 for a cursor that is none of this list."""
    start = None if cursor is None else start_at(cursor, filter, field="query.cursor")
    page = await in_time(to.timeline.page(filter, limit=limit, start=start, matches=matches))
    jobs = [_view(job, to) for job in page.jobs]
    if page.next is None:
        return JobPage(jobs=jobs, next=None, cursor=None)
    next_cursor = cursor_at(page.next, filter)
    next_ = f"{to.root_path}/v1/jobs?{urlencode([*query_of(filter), ('limit', limit), ('cursor', next_cursor)])}"
    return JobPage(jobs=jobs, next=next_, cursor=next_cursor)


def _view(job: JobSnapshot, to: Shared) -> ListedJobView:
    known = to.catalog.get(job.type)
    return ListedJobView(
        id=job.id,
        type=job.type,
        queue=job.queue,
        status=job.status,
        attempt=job.attempt,
        max_tries=job.max_tries or (known.max_tries if known else None),
        error=error_view(job.error),
        enqueued_at=utc(job.enqueued_at_ms),
        run_at=utc_or_none(job.run_at_ms),
        started_at=utc_or_none(job.started_at_ms),
        finished_at=utc_or_none(job.finished_at_ms),
        expires_at=utc_or_none(job.expires_at_ms),
        links=links_of(job, to.root_path),
    )


def query_of(filter: JobFilter) -> list[tuple[str, str]]:
    """The filter as query parameters, always written and ordered alike."""
    statuses = [("status", status) for status in sorted(filter.statuses)]
    parameters = [("type", filter.type), *statuses, ("queue", filter.queue)]
    moments = [("since", filter.since_ms), ("until", filter.until_ms)]
    parameters += [(name, None if at_ms is None else _rfc_3339(at_ms)) for name, at_ms in moments]
    return [(name, value) for name, value in parameters if value is not None]


def _rfc_3339(at_ms: int) -> str:
    return utc(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cursor_at(start: PageStart, filter: JobFilter) -> str:
    """`version, digest of the filter, start of the first page by each partition's clock, ms, id`.

    Opaque: clients send it back as it is.
    """
    below = start.below
    started = ",".join(map(repr, start.started_ms))
    head = f"{CURSOR_VERSION} {_digest(filter)} {started} {below.at_ms!r} ".encode()
    return urlsafe_b64encode(head + below.job_id[:MAX_ID_BYTES]).rstrip(b"=").decode()


def start_at(cursor: str, filter: JobFilter, *, field: str) -> PageStart:
    """Where the page begins, by the cursor in that field.

    Raises Problem 422 for a text that is no cursor, and for a cursor of another filter.
    """
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        version, digest, started, at_ms, job_id = text.split(b" ", 4)
        start = PageStart(Position(float(at_ms), job_id), tuple(map(float, started.split(b","))))
    except ValueError:
        raise _no_cursor(field) from None
    if version.decode(errors="replace") != CURSOR_VERSION or math.isnan(sum(start.started_ms, start.below.at_ms)):
        raise _no_cursor(field)
    if digest.decode(errors="replace") != _digest(filter):
        message = "is of a list with other filters: keep them as they were, or begin again without a cursor"
        raise json_body.invalid(field, message)
    return start


def _no_cursor(field: str) -> Problem:
    return json_body.invalid(field, "must be the 'cursor' of a page of this list, unchanged; 'next' has it")


def _digest(filter: JobFilter) -> str:
    return hashlib.sha256(urlencode(query_of(filter)).encode()).hexdigest()[:12]
