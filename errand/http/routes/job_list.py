"""`GET /v1/jobs`: the jobs of all queues on one timeline, page by page."""

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

from errand.http.answers.job_view import ErrorView, JobHead, error_view, json_response, links_of, utc, utc_or_none
from errand.http.answers.problems import ERRORS, Problem
from errand.http.gates import auth
from errand.http.requests import json_body
from errand.http.requests.filters import QueueName, TypeName, check_queue
from errand.http.shared import Shared, SharedDep, in_time
from errand.job.when import Moment
from errand.monitor.job_snapshot import JobSnapshot, Status
from errand.monitor.timeline import JobFilter, PageStart, Position

MAX_PAGE = 500


DEFAULT_PAGE = 50


CURSOR_VERSION = "1"


CURSOR_EXAMPLE = (
    "MSBlM2IwYzQ0Mjk4ZmMgMTc5NTIyMjU1NTYwMC4wIDE3OTUyMjI1NTU1MTguMCAwMWExZmIzZS1jOWI2LTdiYTEtYTZjZi1mZWJjNTEyMTkyMTk"
)


MAX_ID_BYTES = 1_000
"""Of a longer id, which only a stock producer can give, the beginning marks the place well enough."""


router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


class ListedJobView(JobHead):
    """A job in a list: without its args, result and attempts, which `links.self` leads to. Times are UTC."""

    error: ErrorView | None = Field(description="of an ended job, without its traceback")
    enqueued_at: datetime
    run_at: datetime | None = Field(description="when it is, or was last, due")
    started_at: datetime | None = Field(description="when its latest attempt began; null while it waits")
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="where no attempt has started by then it fails; null: never")
    links: dict[str, str]


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[ListedJobView] = Field(description="may be fewer than asked for, or none, although others follow")
    next: str | None = Field(
        description="the next page; null at the end", examples=[f"/v1/jobs?status=failed&cursor={CURSOR_EXAMPLE}"]
    )
    cursor: str | None = Field(description="for the next page, together with the same filters; null at the end")


async def which(
    to: SharedDep,
    type: Annotated[TypeName | None, Query(description="only of this type", examples=["webhook"])] = None,
    status: Annotated[
        list[Status] | None,
        Query(max_length=20, description="only in this state; several times: in one of them", examples=[["failed"]]),
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
    """The query parameters that say which jobs are meant."""
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
    which: Annotated[JobFilter, Depends(which)],
    limit: Annotated[
        int, Query(ge=1, le=MAX_PAGE, description="how many at most", examples=[DEFAULT_PAGE])
    ] = DEFAULT_PAGE,
    cursor: Annotated[
        str | None,
        Query(max_length=2_000, description="of the page before, with the same filters", examples=[CURSOR_EXAMPLE]),
    ] = None,
) -> Response:
    """Jobs of all queues, newest first.

    A job stands at the moment it ended, or, while it has not, at the moment it is, or was, due: what is planned comes
    first, then what is due or running, then what has ended. `since` and `until` go by that moment too. Filters are
    combined: a job must fit all of them.

    Follow `next`, or the `Link` header, until it is null. While nothing changes each job comes once; while jobs run
    none comes twice, and one that starts or ends between two pages may come in neither. A page costs the same at any
    place and any number of jobs. It looks at 1,000 jobs at most: with `type`, of which waiting jobs must be read to be
    known, it may hold few jobs, or none, and lead on all the same. There are no total counts; `GET /v1/queues` counts
    what waits. A job that a stock `arq.Worker` runs is listed until it has ended, but not by `status=in_progress`.
    """
    start = None if cursor is None else _start(cursor, which)
    page = await in_time(to.timeline.page(which, limit=limit, start=start))
    jobs = [_view(job, to) for job in page.jobs]
    if page.next is None:
        return json_response(JobPage(jobs=jobs, next=None, cursor=None))
    place = _cursor(page.next, which)
    next_ = f"{to.root_path}/v1/jobs?{urlencode([*_query(which), ('limit', limit), ('cursor', place)])}"
    return json_response(JobPage(jobs=jobs, next=next_, cursor=place), headers={"Link": f'<{next_}>; rel="next"'})


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


def _query(which: JobFilter) -> list[tuple[str, str]]:
    """The filters as query parameters, always in the same words and order."""
    filters = [("type", which.type), *(("status", status) for status in sorted(which.statuses)), ("queue", which.queue)]
    moments = [("since", which.since_ms), ("until", which.until_ms)]
    filters += [(name, None if at_ms is None else _rfc_3339(at_ms)) for name, at_ms in moments]
    return [(name, value) for name, value in filters if value is not None]


def _rfc_3339(at_ms: int) -> str:
    return utc(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cursor(start: PageStart, which: JobFilter) -> str:
    """Opaque: clients hand it back as it is. `version, filters, when the first page was started, ms, id`."""
    below = start.below
    head = f"{CURSOR_VERSION} {_digest(which)} {start.started_ms!r} {below.at_ms!r} ".encode()
    return urlsafe_b64encode(head + below.job_id[:MAX_ID_BYTES]).rstrip(b"=").decode()


def _start(cursor: str, which: JobFilter) -> PageStart:
    """Raises Problem 422 for what is no cursor, and for one of a list with other filters."""
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        version, filters, started_ms, at_ms, job_id = text.split(b" ", 4)
        start = PageStart(Position(float(at_ms), job_id), float(started_ms))
    except ValueError:
        raise _no_cursor() from None
    if version.decode(errors="replace") != CURSOR_VERSION or math.isnan(float(started_ms) + start.below.at_ms):
        raise _no_cursor()
    if filters.decode(errors="replace") != _digest(which):
        message = "is of a list with other filters: keep them as they were, or begin again without a cursor"
        raise json_body.invalid("query.cursor", message)
    return start


def _no_cursor() -> Problem:
    return json_body.invalid("query.cursor", "must be the 'cursor' of a page of this list, unchanged; 'next' has it")


def _digest(which: JobFilter) -> str:
    return hashlib.sha256(urlencode(_query(which)).encode()).hexdigest()[:12]
