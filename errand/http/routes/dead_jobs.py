"""`/v1/dead-jobs`: lists jobs that have failed for good, groups them by what they died of, and runs them again."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Body, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from errand.dead_jobs.dead_jobs import DeadGroup, DeadJobFilter, DeadPosition, FoundGroups
from errand.dead_jobs.replay import ReplayCutShort, Replayed
from errand.http.answers.job_view import ErrorView, error_view, json_response, links_of, utc, utc_or_none
from errand.http.answers.problems import ERRORS, Problem
from errand.http.gates import auth
from errand.http.requests import json_body
from errand.http.requests.filters import QueueName, TypeName, check_queue
from errand.http.requests.json_body import JsonRoute
from errand.http.shared import Shared, SharedDep, in_time
from errand.monitor.job_snapshot import JobSnapshot
from errand.queue.sender import MAX_BATCH
from errand.redis.outage import REDIS_RETRY_S
from errand.wire import keys
from errand.wire.indexes import DeadEntry

MAX_PAGE = 100


DEFAULT_PAGE = 50


DEFAULT_REPLAY = 1_000


router = APIRouter(prefix="/v1/dead-jobs", tags=["dead jobs"], route_class=JsonRoute)


Fingerprint = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="only jobs that died of this error: its class and the innermost own frame, behind its `about`",
        examples=["acme-billing/Fail@errand.webhooks.delivery:_check_taken"],
    ),
]


About = Annotated[
    str,
    Field(
        min_length=1,
        max_length=64,
        description="only jobs that died of an error about this: of `webhook` the id of an endpoint",
        examples=["acme-billing"],
    ),
]


Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="how many at most", examples=[DEFAULT_PAGE])]


class DeadJobView(BaseModel):
    """A job that has failed for good. Times are UTC."""

    id: str
    type: str
    queue: str
    attempt: int = Field(description="how many attempts it had")
    error: ErrorView = Field(description="of its last attempt")
    enqueued_at: datetime
    finished_at: datetime
    links: dict[str, str]


class DeadJobPage(BaseModel):
    """Dead jobs, newest first."""

    jobs: list[DeadJobView] = Field(description="may be fewer than `limit` although others follow")
    cursor: str | None = Field(description="for the next page; null at the end")


class ExampleView(BaseModel):
    """One job of a group."""

    id: str
    message: str


class DeadGroupView(BaseModel):
    """Dead jobs of one type and queue with one fingerprint, which most likely have one fault."""

    type: str
    queue: str
    fingerprint: str
    about: str | None = Field(
        description="who or what has the fault, if the job says it; of a delivery to an endpoint the endpoint's id"
    )
    count: int
    oldest_at: datetime
    newest_at: datetime
    example: ExampleView | None = Field(description="the newest; null if it has just been forgotten")


class DeadGroups(BaseModel):
    """Groups of dead jobs, the largest first."""

    groups: list[DeadGroupView]
    more: int = Field(description="how many smaller groups are not shown")
    complete: bool = Field(
        True, description="false if a queue has more than 20,000 groups that match: of these the first were looked at"
    )


class Replay(BaseModel):
    """Which dead jobs to put again, and how."""

    model_config = ConfigDict(extra="forbid")

    type: TypeName | None = None
    fingerprint: Fingerprint | None = None
    about: About | None = None
    queue: QueueName | None = None
    per_second: float | None = Field(
        None,
        ge=0.01,
        le=100_000,
        description="how many of them become due in each second; all at once if it is not given",
    )
    limit: int = Field(
        DEFAULT_REPLAY, ge=1, le=MAX_BATCH, description="how many at most; the oldest of each group first"
    )
    dry_run: StrictBool = Field(False, description="only says what would be done, and does nothing")

    @model_validator(mode="after")
    def _has_a_filter(self) -> Self:
        if self.type is None and self.fingerprint is None and self.about is None:
            raise ValueError("needs a type, a fingerprint or what the faults are about")
        return self

    @property
    def filter(self) -> DeadJobFilter:
        """Which dead jobs."""
        return DeadJobFilter(type=self.type, fingerprint=self.fingerprint, about=self.about, queue=self.queue)


class ReplayedView(BaseModel):
    """What was, or would be, put again."""

    dry_run: bool
    count: int
    ids: list[str] = Field(description="the first ten")
    skipped: int = Field(
        description="jobs that were forgotten meanwhile, replayed by another call, or whose args are lost"
    )
    remaining: int = Field(
        description="dead jobs that match and were not replayed: ask again; counted in 20,000 groups of a queue at most"
    )
    last_due_at: datetime | None = Field(description="when the last of them is due")


REPLAY_EXAMPLES = {
    "look first": {"value": {"type": "webhook", "dry_run": True}},
    "at a pace": {
        "value": {"fingerprint": "Retry@errand.webhooks.delivery:_check_taken", "per_second": 20, "limit": 10_000}
    },
    "one endpoint's": {"value": {"type": "webhook", "about": "acme-billing", "per_second": 20}},
}


async def dead_job_filter(
    to: SharedDep,
    type: Annotated[TypeName | None, Query(description="only of this type")] = None,
    fingerprint: Annotated[Fingerprint | None, Query(description="only jobs that died of this error")] = None,
    about: Annotated[
        About | None, Query(description="only jobs that died of an error about this, such as a webhook endpoint")
    ] = None,
    queue: Annotated[QueueName | None, Query(description="only of this queue")] = None,
) -> DeadJobFilter:
    """The filter in the query."""
    check_queue(to, queue, field="query.queue")
    return DeadJobFilter(type=type, fingerprint=fingerprint, about=about, queue=queue)


DeadJobFilterDep = Annotated[DeadJobFilter, Depends(dead_job_filter)]


@router.get(
    "",
    response_model=DeadJobPage,
    responses=ERRORS,
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_dead_jobs",
)
async def list_dead_jobs(
    to: SharedDep,
    filter: DeadJobFilterDep,
    limit: Limit = DEFAULT_PAGE,
    cursor: Annotated[
        str | None,
        Query(
            max_length=2_000,
            description="of the page before",
            examples=["MTc5NTIyMjU1NTUxOCBzaG91dCBFQGpvYnMuc2hvdXQ6d29yZHMgMTc5NTIyMjU1NTUxOCA3"],
        ),
    ] = None,
) -> Response:
    """Dead jobs, newest first, each with its last error."""
    before = None if cursor is None else _position(cursor)
    page = await in_time(to.dead.page(filter, limit=limit, before=before))
    return json_response(
        DeadJobPage(
            jobs=[_view(job, to.root_path) for job in page.jobs],
            cursor=None if page.next is None else _cursor(page.next),
        )
    )


@router.get(
    "/groups",
    response_model=DeadGroups,
    responses=ERRORS,
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_dead_job_groups",
)
async def list_dead_job_groups(to: SharedDep, filter: DeadJobFilterDep, limit: Limit = DEFAULT_PAGE) -> Response:
    """Dead jobs counted by type and fingerprint, the largest group first, each with its newest job.

    Deliveries to an endpoint are groups of their own, which `about` names.
    """
    shown, found = await in_time(largest(to, filter, limit))
    more = len(found.groups) - len(shown)
    groups = [_group_view(group) for group in shown]
    return json_response(DeadGroups(groups=groups, more=more, complete=found.complete))


@router.post(
    "/replay",
    status_code=202,
    response_model=ReplayedView,
    responses={**ERRORS, 200: {"model": ReplayedView, "description": "A dry run: nothing was put"}},
    dependencies=[Depends(auth.require("admin"))],
    operation_id="replay_dead_jobs",
)
async def replay_dead_jobs(
    to: SharedDep, replay: Annotated[Replay, Body(openapi_examples=REPLAY_EXAMPLES)]
) -> Response:
    """Puts dead jobs of a type, or of one fault, again: each under its id, with all of its tries."""
    check_queue(to, replay.queue, field="body.queue")
    done = await replayed(to, replay)
    view = ReplayedView(
        dry_run=replay.dry_run,
        count=done.count,
        ids=done.ids,
        skipped=done.skipped,
        remaining=done.remaining,
        last_due_at=utc_or_none(done.last_due_at_ms),
    )
    return json_response(view, status=200 if replay.dry_run else 202)


async def largest(to: Shared, filter: DeadJobFilter, limit: int) -> tuple[list[DeadGroup], FoundGroups]:
    """The largest groups, with an example of each, and all that were found."""
    found = await to.dead.groups(filter)
    return await to.dead.with_examples(found.groups[:limit]), found


async def replayed(to: Shared, replay: Replay) -> Replayed:
    """What was, or would be, put again. Raises Problem 503 if Redis goes away in between."""
    if replay.dry_run:
        return await in_time(to.replays.preview(replay.filter, limit=replay.limit))
    try:
        return await to.replays.many(replay.filter, limit=replay.limit, per_second=replay.per_second)
    except ReplayCutShort as cut:
        detail = f"Redis went away after {cut.count} jobs had been put again. Ask again for what is still dead."
        headers = {"Retry-After": str(REDIS_RETRY_S)}
        raise Problem(503, "redis-unavailable", detail, headers=headers) from None


def _view(job: JobSnapshot, root_path: str) -> DeadJobView:
    error = error_view(job.error)
    assert error is not None, "only failed jobs are listed"
    assert job.finished_at_ms is not None, "only ended jobs are listed"
    return DeadJobView(
        id=job.id,
        type=job.type,
        queue=job.queue,
        attempt=job.attempt,
        error=error,
        enqueued_at=utc(job.enqueued_at_ms),
        finished_at=utc(job.finished_at_ms),
        links=links_of(job, root_path),
    )


def _group_view(group: DeadGroup) -> DeadGroupView:
    job = group.example
    return DeadGroupView(
        type=group.newest.type,
        queue=keys.queue_name(group.queue),
        fingerprint=group.newest.fingerprint,
        about=group.newest.about or None,
        count=group.count,
        oldest_at=utc(group.oldest.ended_at_ms),
        newest_at=utc(group.newest.ended_at_ms),
        example=ExampleView(id=job.id, message=job.error.message) if job and job.error else None,
    )


def _cursor(position: DeadPosition) -> str:
    """Opaque: clients hand it back as it is."""
    return urlsafe_b64encode(f"{position.at_ms} {position.entry}".encode()).decode()


def _position(cursor: str) -> DeadPosition:
    try:
        at_ms, entry = urlsafe_b64decode(cursor.encode()).decode().split(" ", 1)
        DeadEntry.parse(entry)
        return DeadPosition(int(at_ms), entry)
    except ValueError:
        raise json_body.invalid("query.cursor", "must be the cursor of a page, unchanged") from None
