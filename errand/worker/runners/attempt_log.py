"""Writes one line in the log for each attempt, at a cost that a busy worker can bear.

A logging library spends more on a line than a worker on a whole no-op job. So these lines, which all have one shape,
are put together by hand in the form that the process logs in, and written once in a turn of the event loop.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

from pydantic_core import to_json

from errand.wire.records import Attempt

Form = Literal["console", "json"]


class AttemptLog:
    """Collects the lines of one turn of the loop, then writes them."""

    def __init__(self, form: Form = "console", *, level: str = "info") -> None:
        self._line = _as_json if form == "json" else _as_text
        self._failures_only = level not in ("debug", "info")
        self._lines: list[str] = []

    def add(
        self,
        type_name: str,
        job_id: str,
        ended: Attempt,
        *,
        trace_id: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Adds the line of an attempt that has just ended. Above level `info` only failures get one.

        `trace_id`: of the attempt; `request_id`: of the request that put the job.
        """
        if self._failures_only and ended.outcome != "failed":
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.flush)
        self._lines.append(self._line(type_name, job_id, ended, trace_id, request_id))

    def flush(self) -> None:
        """Writes what was collected."""
        if self._lines:
            lines, self._lines = self._lines, []
            sys.stdout.write("".join(lines))
            sys.stdout.flush()


def _as_text(type_name: str, job_id: str, ended: Attempt, trace_id: str | None, request_id: str | None) -> str:
    line = (
        f"{_time(ended.ended_at_ms)} [{_level(ended)}] attempt [errand.worker] "
        f"job_id={_one_line(job_id)} type={type_name} "
        f"attempt={ended.number} outcome={ended.outcome} duration_s={_duration_s(ended)}"
    )
    if ended.next_attempt_at_ms is not None:
        line += f" retry_in_s={(ended.next_attempt_at_ms - ended.ended_at_ms) / 1000}"
    if ended.error is not None:
        line += f" error={f'{ended.error.type}: {ended.error.message}'!r}"
    if trace_id is not None:
        line += f" trace_id={trace_id}"
    if request_id is not None:
        line += f" request_id={request_id}"
    return line + "\n"


def _one_line(job_id: str) -> str:
    """The id on one line: a stock producer chooses any id, and a line break in it must not forge a line of the log."""
    return job_id if job_id.isprintable() else repr(job_id)


def _as_json(type_name: str, job_id: str, ended: Attempt, trace_id: str | None, request_id: str | None) -> str:
    line: dict[str, object] = {
        "event": "attempt",
        "level": _level(ended),
        "logger": "errand.worker",
        "timestamp": _time(ended.ended_at_ms),
        "job_id": job_id,
        "type": type_name,
        "attempt": ended.number,
        "outcome": ended.outcome,
        "duration_s": _duration_s(ended),
    }
    if trace_id is not None:
        line["trace_id"] = trace_id
    if request_id is not None:
        line["request_id"] = request_id
    if ended.next_attempt_at_ms is not None:
        line["retry_in_s"] = (ended.next_attempt_at_ms - ended.ended_at_ms) / 1000
    if ended.error is not None:
        line["error"] = f"{ended.error.type}: {ended.error.message}"
    return to_json(line).decode() + "\n"


def _level(ended: Attempt) -> str:
    return "error" if ended.outcome == "failed" else "info"


def _duration_s(ended: Attempt) -> float:
    return (ended.ended_at_ms - ended.started_at_ms) / 1000


@lru_cache(maxsize=8)  # many attempts end in the same millisecond
def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
