"""Shapes the answers that show jobs: models for the OpenAPI document, and what fills them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from fastapi.responses import Response
from pydantic import BaseModel, Field

from errand.job.catalog import Catalog
from errand.job.job_type import JobType
from errand.job.stored_file import FILES_PATH
from errand.monitor.attempt_plan import plan_of
from errand.monitor.job_snapshot import JobSnapshot, Status
from errand.monitor.waiting import Code, Waiting
from errand.redis.durability import Grade
from errand.secrets.redaction import STARS
from errand.wire.limits import shown_ms
from errand.wire.records import AttemptOutcome, Error

if TYPE_CHECKING:
    from errand.mail.deliveries import DeliveryState

PLAIN = "!$&'()*+,:;=@"
"""Characters that a segment of a path may contain unquoted (RFC 3986 §3.3), besides those that never need quotes."""


PLAIN_ID = re.compile(r"[0-9A-Za-z-]+")
"""An id that is the same in JSON and in a path: each that Errand has drawn."""


DeliveryName = Literal["accepted", "deferred", "delivered", "bounced", "complained", "unsubscribed"]


class ErrorView(BaseModel):
    """Why an attempt or a job did not succeed."""

    type: str
    message: str
    traceback: str | None = None
    fingerprint: str = Field(
        description="its class and the innermost frame of own code, behind what it is about: the same for one fault",
        examples=["KeyError@errand.webhooks.delivery:_check_taken"],
    )


class BlockView(BaseModel):
    """An attempt held up the event loop of its worker, and with it every other job there."""

    seconds: float
    at: str = Field(description="what ran then", examples=["/app/jobs/report.py:12 in render"])


class AttemptView(BaseModel):
    """One ended attempt."""

    number: int
    outcome: AttemptOutcome
    due_at: datetime
    started_at: datetime
    ended_at: datetime
    worker: str
    error: ErrorView | None
    next_attempt_at: datetime | None
    blocked: BlockView | None = Field(None, description="for how long it held up its worker")


class ProgressView(BaseModel):
    """The last progress that a job reported."""

    fraction: float
    note: str
    at: datetime


class WaitingView(BaseModel):
    """Why a job waits."""

    code: Code
    detail: str = Field(examples=["Is due at 2030-01-01T09:00:00Z, as was asked."])
    until: datetime | None = Field(description="when the wait will be over; null if that is not known")


class LetterDeliveryView(BaseModel):
    """How far the letter of a job has come."""

    state: DeliveryName
    address: str
    detail: str = Field(description="what was said of it last", examples=["250 2.0.0 OK"])
    at: datetime


class JobHead(BaseModel):
    """The first fields of every view of a job."""

    id: str
    type: str
    queue: str
    status: Status
    attempt: int = Field(description="how many attempts have started")
    max_tries: int | None = Field(description="null if this service does not know the type")


class JobFields(JobHead):
    """The fields of every view of one job. Times are UTC."""

    args: Mapping[str, Any]
    result: Any = None
    error: ErrorView | None = None
    attempts: list[AttemptView] = Field(description="ended attempts, oldest first")
    progress: ProgressView | None = None
    enqueued_at: datetime
    run_at: datetime | None = Field(description="when it is, or was last, due")
    started_at: datetime | None = Field(description="when its latest attempt began")
    finished_at: datetime | None
    links: dict[str, str]
    expires_at: datetime | None = Field(
        description="if no attempt has started by then, it fails; null if it never expires"
    )
    priority: int = Field(0, description="from 0, the lowest, to 9: those that are due start in its order")
    trace_id: str | None = Field(None, description="the trace in which it was put; null if none was recorded")
    request_id: str | None = Field(None, description="the X-Request-ID of the request that put it")
    planned_attempts: list[datetime] | None = Field(
        description="when each attempt that has not started would start if each failed at once, by the type's retry "
        "policy without its jitter; null if the job has ended, or if this service does not know the type"
    )
    gives_up_at: datetime | None = Field(
        description="when, by that plan, the last attempt would have failed; while it runs, when its time limit ends"
    )


class JobView(JobFields):
    """One job. Times are UTC."""

    waiting: WaitingView | None = Field(description="why it waits; null if it runs or has ended")
    delivery: LetterDeliveryView | None = Field(
        None, description="how far its letter has come; null if it sends none, or none was accepted yet"
    )


DURABILITY = Field(
    description="what stands behind it: the server's memory alone, its append-only file (a power cut may lose the last "
    "second: `fsync-everysec`), or as many replicas as `REPLICAS` asks for"
)


class AcceptedJobView(JobFields):
    """A job that was just put. `GET` says why it waits, if it does."""

    durability: Grade = DURABILITY


def job_view(
    job: JobSnapshot,
    catalog: Catalog,
    waiting: Waiting | None = None,
    delivery: DeliveryState | None = None,
    *,
    root_path: str = "",
) -> JobView:
    """The job as the API shows it; `waiting` says why it waits, `delivery` how far its letter has come.

    Its links begin with `root_path`.
    """
    known = catalog.get(job.type)
    max_tries = job.max_tries or (known.max_tries if known else None)
    plan = plan_of(job, known, max_tries=max_tries) if known and max_tries and not job.ended else None
    return JobView(
        id=job.id,
        type=job.type,
        queue=job.queue,
        status=job.status,
        attempt=job.attempt,
        max_tries=max_tries,
        args=shown_args(known, job.args),
        result=shown_result(job.result, root_path),
        error=error_view(job.error),
        attempts=[
            AttemptView(
                number=attempt.number,
                outcome=attempt.outcome,
                due_at=utc(attempt.due_at_ms),
                started_at=utc(attempt.started_at_ms),
                ended_at=utc(attempt.ended_at_ms),
                worker=attempt.worker,
                error=error_view(attempt.error),
                next_attempt_at=utc_or_none(attempt.next_attempt_at_ms),
                blocked=attempt.blocked and BlockView(seconds=attempt.blocked.for_ms / 1000, at=attempt.blocked.at),
            )
            for attempt in job.attempts
        ],
        progress=job.progress
        and ProgressView(fraction=job.progress.fraction, note=job.progress.note, at=utc(job.progress.at_ms)),
        enqueued_at=utc(job.enqueued_at_ms),
        run_at=utc_or_none(job.run_at_ms),
        started_at=utc_or_none(job.started_at_ms),
        finished_at=utc_or_none(job.finished_at_ms),
        links=links_of(job, root_path),
        expires_at=utc_or_none(job.expires_at_ms),
        priority=job.priority,
        trace_id=job.origin.trace_id,
        request_id=job.origin.request_id,
        planned_attempts=plan and [utc(at_ms) for at_ms in plan.attempts_ms],
        gives_up_at=plan and utc_or_none(plan.gives_up_ms),
        waiting=waiting and WaitingView(code=waiting.code, detail=waiting.detail, until=utc_or_none(waiting.until_ms)),
        delivery=delivery
        and LetterDeliveryView(
            state=delivery.state, address=delivery.address, detail=delivery.detail, at=utc(delivery.at_ms)
        ),
    )


def without_content(view: JobView) -> JobView:
    """The job for a client that may not look: that it is there, and how it stands; not what it was given and did."""
    hidden: dict[str, Any] = {
        "args": {},
        "result": None,
        "error": None,
        "attempts": [],
        "progress": None,
        "waiting": None,
        "delivery": None,
    }
    return view.model_copy(update=hidden)


def shown_args(known: JobType[Any, Any] | None, args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The args without their secrets; of a type that this service does not know, every value is hidden."""
    return dict.fromkeys(args, STARS) if known is None else known.shown_args(args)


def shown_result(result: Any, root_path: str) -> Any:
    """The result with its links to stored files (`path_of_file`) as this request would follow them."""
    if not root_path:
        return result
    match result:
        case str() if result.startswith(FILES_PATH):
            return root_path + result
        case dict():
            return {name: shown_result(value, root_path) for name, value in result.items()}
        case list():
            return [shown_result(value, root_path) for value in result]
        case _:
            return result


def path_of(job_id: str, root_path: str) -> str:
    """The path of a job; a stock producer may put any character into an id."""
    in_path = job_id if PLAIN_ID.fullmatch(job_id) else quote(job_id, safe=PLAIN)
    return f"{root_path}/v1/jobs/{in_path}"


def links_of(job: JobSnapshot, root_path: str) -> dict[str, str]:
    """The job's own path, and what can be done with it now."""
    path = path_of(job.id, root_path)
    links = {"self": path} | ({} if job.ended else {"wait": f"{path}?wait=30", "cancel": f"{path}/cancel"})
    if job.flow.parent is not None:
        links["parent"] = path_of(job.flow.parent, root_path)
    if job.ended or job.flow.needs is not None:
        links["children"] = f"{path}/children"
    if job.status in ("queued", "deferred") and not job.held:
        links["reschedule"] = f"{path}/reschedule"
    if job.status in ("failed", "cancelled") or (job.status == "deferred" and job.attempt > 0):
        links["retry"] = f"{path}/retry"
    return links


def json_response(view: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that shows the view, written as JSON in one pass."""
    return Response(
        view.model_dump_json(), status_code=status, media_type="application/json", headers=dict(headers or {})
    )


def error_view(error: Error | None) -> ErrorView | None:
    """The error as the API shows it."""
    if error is None:
        return None
    return ErrorView(type=error.type, message=error.message, traceback=error.traceback, fingerprint=error.fingerprint)


def utc(at_ms: int) -> datetime:
    """Ms since the epoch as a time."""
    return datetime.fromtimestamp(shown_ms(at_ms) / 1000, UTC)


def utc_or_none(at_ms: int | None) -> datetime | None:
    """Ms since the epoch as a time; None if they are unknown."""
    return None if at_ms is None else utc(at_ms)
