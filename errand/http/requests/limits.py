"""`expires_in`, `max_tries` and `priority`: what a request may ask of its own jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from arq.utils import timestamp_ms
from fastapi import Query
from pydantic import BaseModel, Field

from errand.http.requests import json_body
from errand.job.when import DurationS
from errand.wire.limits import HIGHEST_PRIORITY, TRIES_LIMIT, JobLimits

if TYPE_CHECKING:
    from errand.job.when import When

ExpiresIn = Annotated[
    Annotated[DurationS, Field(ge=0.001)] | None,
    Query(
        description="a job that has not started so long after it was accepted fails as `Expired`; without it a job "
        "waits until it is run",
        examples=["2h"],
    ),
]


MaxTries = Annotated[
    Annotated[int, Field(ge=1, le=TRIES_LIMIT)] | None,
    Query(description="how often it is tried at most, instead of its type's number", examples=[3]),
]


Priority = Annotated[
    Annotated[int, Field(ge=0, le=HIGHEST_PRIORITY)] | None,
    Query(
        description="of the jobs that are due, those of the highest priority start first; 0, the lowest, unless its "
        "type has another. One start in ten is that of the job that has been due longest, whatever its priority",
        examples=[5],
    ),
]


class LimitsQuery(BaseModel):
    """The query parameters that limit a job."""

    expires_in: ExpiresIn = None
    max_tries: MaxTries = None
    priority: Priority = None

    def limits(self) -> JobLimits | None:
        """None if none is given."""
        if self.expires_in is None and self.max_tries is None and self.priority is None:
            return None
        expires_in_ms = None if self.expires_in is None else int(self.expires_in * 1000)
        return JobLimits(max_tries=self.max_tries, expires_in_ms=expires_in_ms, priority=self.priority)


def check_due(limits: JobLimits | None, when: When) -> None:
    """Raises Problem 422 for a job that would have expired before it is due."""
    if limits is None or limits.expires_in_ms is None:
        return
    due_in_ms = when.delay_ms if when.run_at_ms is None else when.run_at_ms - timestamp_ms()
    if due_in_ms >= limits.expires_in_ms:
        raise json_body.invalid(
            "query.expires_in", "ends before the job is due: make it longer, or have the job due sooner"
        )
