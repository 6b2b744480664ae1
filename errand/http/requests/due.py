"""When a job is due, as the query says: `delay` or `run_at`."""

from __future__ import annotations

from typing import Annotated

from arq.utils import to_unix_ms
from fastapi import Depends, Query
from pydantic import BaseModel

from errand.http.answers.problems import FaultyField, Problem
from errand.job.when import DurationS, Moment, When

Delay = Annotated[DurationS | None, Query(description="how long from now: seconds, or `10m`-like", examples=["10m"])]


RunAt = Annotated[
    Moment | None,
    Query(description="when, RFC 3339; at once if that has passed", examples=["2030-01-01T09:00:00Z"]),
]


class DueQuery(BaseModel):
    """The query parameters that say when a job is due."""

    delay: Delay = None
    run_at: RunAt = None

    def when(self) -> When:
        """Raises Problem 422 if both are given."""
        if self.delay is not None and self.run_at is not None:
            errors = [FaultyField(field="query.delay", message="cannot be given together with run_at")]
            raise Problem(422, "invalid-request", "Give either delay or run_at, not both.", errors=errors)
        return When(int((self.delay or 0) * 1000), None if self.run_at is None else to_unix_ms(self.run_at))


async def _when(delay: Delay = None, run_at: RunAt = None) -> When:
    return DueQuery.model_construct(delay=delay, run_at=run_at).when()


WhenDep = Annotated[When, Depends(_when)]
"""The same for a route whose query FastAPI reads."""
