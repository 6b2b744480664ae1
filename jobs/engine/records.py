"""What is written of a job in Redis, and nothing but JSON: bytes from Redis must not be able to run code.

The two functions `dumps` and `loads` are Arq's `job_serializer` and `job_deserializer`.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from arq.jobs import DeserializationError, JobDef, deserialize_job
from pydantic_core import from_json, to_json

from jobs.engine import fingerprint, redaction
from jobs.engine.redaction import Hide

log = structlog.get_logger("errand.records")

AttemptOutcome = Literal["succeeded", "retry", "failed", "cancelled", "handed_back", "lost", "crashed"]
UNKNOWN, UNREADABLE = "<unknown>", "<unreadable>"
"""The types of jobs whose bodies are gone, or say nothing."""
UNIQUE_KEY = "unique_key"
"""What a job's body may say beyond Arq's fields, which stock Arq passes over: the key that it holds."""
TRACEBACK_LIMIT_CHARS = 4_000
MESSAGE_LIMIT_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class Error:
    """Why an attempt or a job did not succeed."""

    type: str
    message: str
    traceback: str | None = None
    fingerprint: str = ""
    """Its class and where our side of it was; the class alone where that is all that is known."""

    def __post_init__(self) -> None:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint.token(self.type))

    @classmethod
    def of(cls, error: BaseException, *, with_traceback: bool = True, hide: Hide = redaction.hide) -> Error:
        """`error` in words without secrets, cut to a bounded size; of a traceback the innermost end is kept."""
        lines = "".join(traceback.format_exception(error)) if with_traceback else None
        return cls(
            type=type(error).__name__,
            # hidden before they are cut: half a secret would not be known for one
            message=clean(hide(_words(error))[:MESSAGE_LIMIT_CHARS]),
            traceback=lines and clean(hide(lines)[-TRACEBACK_LIMIT_CHARS:]),
            fingerprint=fingerprint.of(error),
        )

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Error:
        """From a record, which may be older than some fields or younger than this reader."""
        return cls(
            type=fields["type"],
            message=fields["message"],
            traceback=fields.get("traceback"),
            fingerprint=fields.get("fingerprint") or "",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningAttempt:
    """An attempt that has begun. Times are ms since the epoch."""

    number: int
    due_at_ms: int
    started_at_ms: int
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(RunningAttempt):
    """An attempt that has ended."""

    ended_at_ms: int
    outcome: AttemptOutcome
    error: Error | None = None
    next_attempt_at_ms: int | None = None
    wait_asked: bool = False
    """The attempt itself said how long to wait, or passed on what an endpoint's Retry-After says."""

    @classmethod
    def end(
        cls,
        begun: RunningAttempt,
        outcome: AttemptOutcome,
        *,
        at_ms: int,
        error: Error | None = None,
        next_attempt_at_ms: int | None = None,
        wait_asked: bool = False,
    ) -> Attempt:
        """The end of an attempt that had begun."""
        return cls(
            number=begun.number,
            due_at_ms=begun.due_at_ms,
            started_at_ms=begun.started_at_ms,
            worker=begun.worker,
            ended_at_ms=at_ms,
            outcome=outcome,
            error=error,
            next_attempt_at_ms=next_attempt_at_ms,
            wait_asked=wait_asked,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a running job says of itself."""

    fraction: float
    note: str
    at_ms: int


class JobFailed(RuntimeError):
    """What `arq.jobs.Job.result()` raises for a job that failed; `error` says why.

    `cancelled` marks a job that ended itself with `Cancel`. Inside a worker that is no CancelledError: Arq would take
    it for the worker's own stop and run the job again.
    """

    def __init__(self, error: Error, *, cancelled: bool = False) -> None:
        super().__init__(f"{error.type}: {error.message}")
        self.error = error
        self.cancelled = cancelled


class JobCancelled(asyncio.CancelledError):
    """What `arq.jobs.Job.result()` raises for a cancelled job, as Arq's own `abort` expects."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # a job's own exception class may raise here
        return "(an exception without words)"


def clean(text: str) -> str:
    """Text that has a UTF-8 form: what bytes of a peer left half decoded (a lone surrogate) becomes `?`."""
    return text.encode(errors="replace").decode()


def dumps(record: Any) -> bytes:
    """`record` as JSON; an exception in it becomes `{"$error": …}`. NaN and infinities become null.

    Raises PydanticSerializationError for what has no JSON form.
    """
    return to_json(record, fallback=_exception_as_json, inf_nan_mode="null")


def loads(data: bytes) -> dict[str, Any]:
    """The record in `data`; the error of an unsuccessful result becomes an exception again.

    Raises ValueError for bytes that are not a JSON object.
    """
    record = from_json(data)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    if record.get("s") is False:
        record["r"] = _error_from_json(record.get("r"))
    return record


def readable_or_empty(data: bytes) -> dict[str, Any]:
    """The record in `data`; an empty one where that is somebody else's, who writes otherwise."""
    try:
        return loads(data)
    except (ValueError, TypeError, KeyError):
        return {}


def job_in(body: bytes) -> tuple[JobDef, Mapping[str, Any]]:
    """The job in Arq's body, and all that the body says.

    One that cannot be read is still a job, which can be looked at and cancelled.
    """
    record: dict[str, Any] = {}

    def keeping(data: bytes) -> dict[str, Any]:
        record.update(loads(data))
        return record

    with contextlib.suppress(DeserializationError):
        job = deserialize_job(body, deserializer=keeping)
        if isinstance(record["f"], str) and isinstance(record["k"], dict):
            return job, record
    return JobDef(UNREADABLE, (), {}, 0, datetime.fromtimestamp(0, UTC), None, None), {}


def unique_of(body: bytes) -> tuple[str, str] | None:
    """The type and the unique key of the job in Arq's body; None where it has no key, or cannot be read."""
    try:
        record = loads(body)
    except ValueError:
        return None
    name, key = record.get("f"), record.get(UNIQUE_KEY)
    return (name, key) if isinstance(name, str) and isinstance(key, str) else None


def readable(raw: Sequence[bytes]) -> list[dict[str, Any]]:
    """The records among those; what is none is left out, and said so in the log."""
    records = []
    for record in raw:
        try:
            records.append(loads(record))
        except ValueError:
            log.warning("a record cannot be read and is left out", record=repr(record[:200]))
    return records


def _exception_as_json(value: Any) -> Any:
    if isinstance(value, JobFailed):
        return {"$error": value.error, "cancelled": value.cancelled}
    if isinstance(value, JobCancelled):
        return {"$error": value.error, "cancelled": True}
    if isinstance(value, BaseException):
        return {"$error": Error.of(value), "cancelled": isinstance(value, asyncio.CancelledError)}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _error_from_json(value: Any) -> JobFailed | JobCancelled:
    if not (isinstance(value, dict) and "$error" in value):
        return JobFailed(Error(type="Error", message=str(value)))
    error = Error.read(value["$error"])
    return JobCancelled(error) if value.get("cancelled") else JobFailed(error)
