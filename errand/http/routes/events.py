"""`GET /v1/events` and `GET /v1/jobs/{id}/events`: clients watch jobs live (Server-Sent Events)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from arq.connections import ArqRedis
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel, Field
from pydantic_core import to_json
from redis.exceptions import RedisError

from errand.events.change import Change, Kind
from errand.events.cursor import Position, position_in, positions_in, source_of
from errand.events.feed import TooManyWatchers
from errand.events.watcher import ChangeBatch, EventFilter, Watcher
from errand.http.answers import event_stream
from errand.http.answers.event_stream import EventStream
from errand.http.answers.job_view import JobView, ProgressView, job_view, utc
from errand.http.answers.problems import ERRORS, FaultyField, Problem
from errand.http.gates import auth, head_requests
from errand.http.requests import job_path
from errand.http.requests.job_path import UNKNOWN, JobId
from errand.http.shared import Shared, SharedDep, in_time
from errand.monitor.job_snapshot import ENDS, JobSnapshot, Status, read_job_in_history

FULL_RETRY_S = 10


MAX_CURSOR_CHARS = 8_000
"""Up to 60 for each queue in each partition."""


MISSED = to_json({"detail": "Some changes since your Last-Event-ID are no longer known. What follows is from now on."})


router = APIRouter(prefix="/v1", tags=["events"])


EXAMPLE = """\
: watching
id: 1795237200000-0@default
retry: 2000

event: queued
data: {"id":"01a1fb3e-c9b6-7ba1-a6cf-febc51219219","type":"webhook","queue":"default","status":"queued","attempt":0,\
"at":"2026-11-21T05:00:00Z"}
id: 1795237200123-0@default

event: progress
data: {"id":"01a1fb3e-c9b6-7ba1-a6cf-febc51219219","type":"resize","queue":"cpu","status":"in_progress","attempt":1,\
"at":"2026-11-21T05:00:01Z","progress":{"fraction":0.5,"note":"half way","at":"2026-11-21T05:00:01Z"}}
id: 1795237201456-0@default

: still here
id: 1795237201456-0@default

"""


class JobEvent(BaseModel):
    """The `data` of an event. Its `event` is the status, or `progress`."""

    id: str
    type: str | None = Field(description="null if it is not known")
    queue: str
    status: Status
    attempt: int = Field(description="how many attempts have started")
    at: datetime = Field(
        description="when, by the clock of Redis; in the first event of a job's stream, about since when it is so"
    )
    progress: ProgressView | None = Field(None, description="only in `progress`")
    job: JobView | None = Field(None, description="the whole job: in the first and the last event of a job's stream")


EVENT_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("event", "data", "id")} | {"retry": {"type": "integer"}},
}
"""One event. OpenAPI describes the items of a stream since 3.2, by `itemSchema`."""


STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "events until the client hangs up, each with a `JobEvent` as its data; a comment after 15 s "
        "without one. `missed` says that some changes since `Last-Event-ID` are not known any more. If the service "
        "ends a stream, a comment says why; come back with `Last-Event-ID`",
        "content": {"text/event-stream": {"itemSchema": EVENT_SCHEMA, "example": EXAMPLE}},
    },
    **{status: ERRORS[status] for status in (401, 403, 422, 429)},
    503: {**ERRORS[503], "description": "Redis cannot be reached, or this process has as many watchers as it may have"},
}


NO_MORE: dict[int | str, dict[str, Any]] = {
    204: {
        "description": "the job had ended by `Last-Event-ID`: nothing more will come, and a client need not come back"
    }
}


LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=MAX_CURSOR_CHARS,
        description="the `id` of the last event that was received: the stream goes on after it, on any API process",
        examples=["1795237200123-0@default"],
    ),
]


Name = Annotated[str, Field(max_length=128)]


@router.get(
    "/events",
    response_class=StreamingResponse,  # FastAPI would frame each event anew for each watcher
    responses=STREAM,
    dependencies=[Depends(auth.require("read"))],
    operation_id="watch_jobs",
)
async def watch_jobs(
    request: Request,
    to: SharedDep,
    type: Annotated[
        list[Name], Query(description="jobs of this type; may be given several times", examples=[["webhook"]])
    ] = [],  # noqa: B006  # FastAPI copies it
    status: Annotated[
        list[Kind], Query(description="events of this name; may be given several times", examples=[["failed"]])
    ] = [],  # noqa: B006
    queue: Annotated[
        list[Name], Query(description="jobs of this queue; may be given several times", examples=[["default"]])
    ] = [],  # noqa: B006
    last_event_id: LastEventId = None,
) -> Response:
    """Every change of every job, as it happens: each new status, each progress."""
    if unknown := [name for name in queue if name not in to.queues]:
        raise _unknown_queues(unknown, to)
    event_filter = EventFilter(types=frozenset(type), kinds=frozenset(status), queues=frozenset(queue))
    if head_requests.ASKED in request.scope:
        return _head()
    watcher = await _admitted(to, event_filter)
    try:
        after, missed = await _positions_covered(to, last_event_id)
    except BaseException:
        await to.feed.dismiss(watcher)
        raise
    stream = _events_of_all(to, watcher, after, missed=missed)
    return EventStream(stream, watcher=watcher, feed=to.feed, render=_rendered)


@router.get(
    "/jobs/{id}/events",
    response_class=StreamingResponse,
    responses={**STREAM, **NO_MORE, **UNKNOWN},
    dependencies=[Depends(auth.require("read"))],
    operation_id="watch_job",
)
async def watch_job(id: JobId, request: Request, to: SharedDep, last_event_id: LastEventId = None) -> Response:
    """One job, from its present state to its end: each new status, each progress; whole in the first and last event."""
    await job_path.found(to, id)
    if head_requests.ASKED in request.scope:
        return _head()
    watcher = await _admitted(to, EventFilter(job_id=id))
    try:
        after, missed = await _positions_covered(to, last_event_id)
        job, now = await _read_job(to, id)
        if after is not None and job.ended and not _ends_after(to, watcher, after):
            await to.feed.dismiss(watcher)
            return Response(status_code=204)
    except BaseException:
        await to.feed.dismiss(watcher)
        raise
    first = None if after is not None else job
    stream = _events_of_job(to, watcher, first, now if after is None else after, missed=missed)
    return EventStream(stream, watcher=watcher, feed=to.feed)


async def _events_of_all(
    to: Shared, watcher: Watcher, after: Mapping[str, Position] | None, *, missed: bool
) -> AsyncGenerator[bytes, None]:
    yield event_stream.opening(to.feed.cursor if after is None else to.feed.cursor_after(after))
    if missed:
        yield event_stream.event("missed", MISSED.decode(), cursor=to.feed.cursor)
    async for changes in to.feed.follow(watcher, after):
        yield b"".join([event_stream.event(change.kind, _shown(change), cursor=cursor) for change, cursor in changes])
    while not watcher.ended:
        if batches := await watcher.take():
            yield b"".join([_rendered(batch) for batch in batches])
        elif (cursor := to.feed.caught_up_cursor(watcher)) is not None:
            yield event_stream.heartbeat(cursor)
    yield event_stream.ending(watcher.ended)


async def _events_of_job(
    to: Shared, watcher: Watcher, job: JobSnapshot | None, after: Mapping[str, Position], *, missed: bool
) -> AsyncGenerator[bytes, None]:
    """Begins with the job, as it was at these positions, and goes on after them; without a job it only goes on."""
    cursor = to.feed.cursor_after(after)
    yield event_stream.opening(cursor)
    if missed:
        yield event_stream.event("missed", MISSED.decode(), cursor=cursor)
    if job is not None:
        yield event_stream.event(job.status, _shown_whole(job, to), cursor=cursor)
        if job.ended:
            return
    had_ended = False
    async for change, cursor in _changes(to, watcher, after):
        if change is None:
            # its worker may publish nothing, if it is a stock one
            seen, _ = await _read_job_or_nothing(to, watcher.filter)
            had_ended_before, had_ended = had_ended, seen is not None and seen.ended
            # an end that is read before its event has come is sent the next time, after all that came before it
            if seen is not None and had_ended and had_ended_before:
                yield event_stream.event(seen.status, _shown_whole(seen, to), cursor=cursor)
                return
            yield event_stream.heartbeat(cursor)
        elif change.kind in ENDS:
            ended, _ = await _read_job_or_nothing(to, watcher.filter)
            yield event_stream.event(change.kind, _shown_end(change, ended, to), cursor=cursor)
            return
        else:
            yield event_stream.event(change.kind, _shown(change), cursor=cursor)
    yield event_stream.ending(watcher.ended or "gone")


async def _changes(
    to: Shared, watcher: Watcher, after: Mapping[str, Position]
) -> AsyncGenerator[tuple[Change | None, str], None]:
    """Each change with the cursor after it; None instead of a change if a heartbeat is due."""
    async for changes in to.feed.follow(watcher, after):
        for change, cursor in changes:
            yield change, cursor
    while not watcher.ended:
        batches = await watcher.take()
        if not batches and (caught_up := to.feed.caught_up_cursor(watcher)) is not None:
            yield None, caught_up
        for batch in batches:
            for change in batch.changes:
                yield change, change.cursor


def _ends_after(to: Shared, watcher: Watcher, after: Mapping[str, Position]) -> bool:
    """True if the watched job has ended after these positions."""
    return any(change.kind in ENDS for change in to.feed.after(after) if watcher.filter.has(change))


async def _admitted(to: Shared, event_filter: EventFilter) -> Watcher:
    try:
        return await in_time(to.feed.admit(event_filter))
    except TooManyWatchers:
        detail = (
            "This process has as many watchers as WATCHER_LIMIT allows. "
            f"Try again in {FULL_RETRY_S} seconds, or wait for single jobs with `?wait=30`."
        )
        raise Problem(503, "too-many-watchers", detail, headers={"Retry-After": str(FULL_RETRY_S)}) from None


async def _positions_covered(to: Shared, cursor: str | None) -> tuple[dict[str, Position] | None, bool]:
    """The positions in a cursor, if all that changed after them is known; and whether some of it is not."""
    if not cursor:
        return None, False
    positions = positions_in(cursor)
    if positions is None or not await in_time(to.feed.covers(positions)):
        return None, True
    return positions, False


async def _read_job(to: Shared, job_id: str) -> tuple[JobSnapshot, dict[str, Position]]:
    """The job, and the position in each source of its partition after which its changes are not in it yet."""

    async def look(redis: ArqRedis) -> tuple[JobSnapshot, dict[str, Position]] | None:
        job, raw = await read_job_in_history(redis, job_id, queues=to.queue_keys)
        partition = to.partitions.clients.index(redis)
        positions = {source_of(name, partition): position_in(at.decode()) for name, at in raw.items()}
        return None if job is None else (job, positions)

    found = await in_time(to.partitions.look_for(job_id, look))
    if found is None:
        raise job_path.unknown(job_id)
    await in_time(to.feed.covers(found[1]))
    return found


async def _read_job_or_nothing(to: Shared, event_filter: EventFilter) -> tuple[JobSnapshot | None, dict[str, Position]]:
    assert event_filter.job_id is not None
    try:
        return await _read_job(to, event_filter.job_id)
    except (Problem, RedisError):
        # forgotten meanwhile, or Redis is away
        return None, {}


def _shown(change: Change) -> str:
    """The JSON of a change, rendered once."""
    if not change.shown:
        change.shown = to_json(_fields(change)).decode()
    return change.shown


def _rendered(batch: ChangeBatch) -> bytes:
    """The events of a batch, rendered once."""
    if not batch.shown:
        batch.shown = b"".join(
            [event_stream.event(change.kind, _shown(change), cursor=change.cursor) for change in batch.changes]
        )
    return batch.shown


def _shown_end(change: Change, job: JobSnapshot | None, to: Shared) -> str:
    return to_json({**_fields(change), "job": job and job_view(job, to.catalog, root_path=to.root_path)}).decode()


def _shown_whole(job: JobSnapshot, to: Shared) -> str:
    at_ms = job.finished_at_ms or job.started_at_ms or job.enqueued_at_ms
    fields = {"id": job.id, "type": job.type, "queue": job.queue, "status": job.status, "attempt": job.attempt}
    return to_json({**fields, "at": utc(at_ms), "job": job_view(job, to.catalog, root_path=to.root_path)}).decode()


def _fields(change: Change) -> dict[str, Any]:
    progress = change.progress
    fields: dict[str, Any] = {
        "id": change.job_id,
        "type": change.type,
        "queue": change.queue,
        "status": "in_progress" if progress else change.kind,
        "attempt": change.attempt,
        "at": utc(change.at[0]),
    }
    if progress is not None:
        fields["progress"] = ProgressView(fraction=progress.fraction, note=progress.note, at=utc(progress.at_ms))
    return fields


def _head() -> Response:
    return EventSourceResponse((), headers=event_stream.HEADERS)


def _unknown_queues(names: Sequence[str], to: Shared) -> Problem:
    known = ", ".join(to.queues)
    errors = [
        FaultyField(field="query.queue", message=f"there is no queue '{name}'; there are: {known}") for name in names
    ]
    return Problem(422, "invalid-request", f"The request does not fit: query.queue {errors[0].message}", errors=errors)
