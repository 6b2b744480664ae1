"""The attempt that runs, as the tasks that belong to it find it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from errand.job.context import Context
from errand.job.job_type import JobType
from errand.leases.leases import Finish
from errand.secrets.redaction import Hide
from errand.wire.records import Block, Progress, RunningAttempt
from errand.worker.runners.claimed_job import ClaimedJob


@dataclass(slots=True, eq=False)
class UnderWay:
    """An attempt that runs here."""

    job: ClaimedJob
    job_type: JobType[Any, Any]
    kwargs: Mapping[str, Any]
    ctx: Context
    hide: Hide
    started: RunningAttempt
    reported: list[Progress]
    blocked: Block | None = None
    ended_early: Finish | None = None
    """The end that it came to while it blocked the loop, past its limit."""
    trace_context: Any = None
    """OpenTelemetry's, if somebody has asked for it and the trace is not sampled."""


IN_ATTEMPT: ContextVar[UnderWay] = ContextVar("in_attempt")
"""The attempt that a task belongs to; the tasks that a job starts inherit it."""
