"""`expires_in` and `max_tries`: what a request may ask of its own jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from arq.utils import timestamp_ms
from fastapi import Depends, Query
from pydantic import BaseModel, Field

from errand.http.requests import json_body
from errand.job.when import DurationS
from errand.wire.limits import TRIES_LIMIT, JobLimits

if TYPE_CHECKING:
    from errand.job.when import When

ExpiresInS = Annotated[DurationS, Field(ge=0.001)]


MaxTries = Annotated[int, Field(ge=1, le=TRIES_LIMIT)]


class LimitsQuery(BaseModel):
    """The query parameters, for a route that reads them by hand."""

    expires_in: ExpiresInS | None = None
    max_tries: MaxTries | None = None


async def job_limits(
    expires_in: Annotated[
        ExpiresInS | None,
        Query(
            description="a job that has not started so long after it was accepted fails as `Expired`; without it a job "
            "waits until it is run",
            examples=["2h"],
        ),
    ] = None,
    max_tries: Annotated[
        MaxTries | None,
        Query(description="how often it is tried at most, in the place of its type's number", examples=[3]),
    ] = None,
) -> JobLimits | None:
    """None where nothing is asked."""
    if expires_in is None and max_tries is None:
        return None
    return JobLimits(max_tries=max_tries, expires_in_ms=None if expires_in is None else int(expires_in * 1000))


LimitsDep = Annotated[JobLimits | None, Depends(job_limits)]


def check_due(limits: JobLimits | None, when: When) -> None:
    """Raises Problem 422 for a job that would have expired before it is due."""
    if limits is None or limits.expires_in_ms is None:
        return
    due_in_ms = when.delay_ms if when.run_at_ms is None else when.run_at_ms - timestamp_ms()
    if due_in_ms >= limits.expires_in_ms:
        raise json_body.invalid(
            "query.expires_in", "ends before the job is due: make it longer, or have the job due sooner"
        )
