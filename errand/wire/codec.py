"""The JSON of what Redis keeps: Arq's serialisers, and reading what other programs may have left there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from arq.jobs import DeserializationError, JobDef, deserialize_job
from pydantic_core import from_json, to_json

from errand.wire.records import Error, JobCancelled, JobFailed

UNIQUE_KEY = "unique_key"
"""What a job's body may say beyond Arq's fields, which stock Arq passes over: the key that it holds."""


log = structlog.get_logger("errand.records")


UNKNOWN, UNREADABLE = "<unknown>", "<unreadable>"
"""The types of jobs whose bodies are gone, or say nothing."""


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
    """The record in `data`; an empty one if another program has written something else."""
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
    """The type and the unique key of the job in Arq's body; None if it has no key, or cannot be read."""
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
    try:
        error = Error.read(value["$error"])
    except (KeyError, TypeError) as fault:
        raise ValueError(f"an error that cannot be read: {fault!r}") from None
    return JobCancelled(error) if value.get("cancelled") else JobFailed(error)
