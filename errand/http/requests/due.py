"""When a job is due, as the query says: `delay` or `run_at`."""

from __future__ import annotations

from typing import Annotated

from arq.utils import to_unix_ms
from fastapi import Depends, Query

from errand.http.answers.problems import FaultyField, Problem
from errand.job.when import DurationS, Moment, When


async def when(
    delay: Annotated[
        DurationS | None, Query(description="how long from now: seconds, or `10m`-like", examples=["10m"])
    ] = None,
    run_at: Annotated[
        Moment | None,
        Query(description="when, RFC 3339; at once where that has passed", examples=["2030-01-01T09:00:00Z"]),
    ] = None,
) -> When:
    """The query parameters that say when a job is due."""
    if delay is not None and run_at is not None:
        errors = [FaultyField(field="query.delay", message="cannot be given together with run_at")]
        raise Problem(422, "invalid-request", "Give either delay or run_at, not both.", errors=errors)
    return When(int((delay or 0) * 1000), None if run_at is None else to_unix_ms(run_at))


WhenDep = Annotated[When, Depends(when)]
