"""When a job is due, as the query says: `delay` or `run_at`, and `depends_on`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from arq.utils import to_unix_ms
from fastapi import Depends, Query
from pydantic import BaseModel, Field

from errand.http.answers.problems import FaultyField, Problem
from errand.http.requests import json_body
from errand.http.requests.job_path import JOB_ID
from errand.http.shared import Shared
from errand.job.when import DurationS, Moment, When
from errand.queue.new_job import DividedDependencies
from errand.wire.flow import Flow, Needs, RunAfter

Delay = Annotated[DurationS | None, Query(description="how long from now: seconds, or `10m`-like", examples=["10m"])]


RunAt = Annotated[
    Moment | None,
    Query(description="when, RFC 3339; at once if that has passed", examples=["2030-01-01T09:00:00Z"]),
]


MAX_DEPENDS_ON = 100
"""Each is looked for; a group, which a job puts, may have more."""


DependsOn = Annotated[
    Annotated[str, Field(min_length=1, max_length=4_000)] | None,
    Query(
        description="ids of jobs, with commas between them: it is due when they have succeeded",
        examples=[JOB_ID],
    ),
]


RunAfterParam = Annotated[
    RunAfter | None,
    Query(
        description="what `depends_on` waits for: `all_succeeded` (if one does not, the job ends as that one did; the "
        "default) or `all_ended`",
        examples=["all_succeeded"],
    ),
]


@dataclass(frozen=True, slots=True)
class Dependencies:
    """The jobs that a new one waits for."""

    job_ids: tuple[str, ...]
    run_after: RunAfter

    async def flow(self, to: Shared) -> Flow:
        """As the queue takes them. Raises Problem 422 for one that is not known."""
        jobs = []
        for job_id in self.job_ids:
            job = await to.find(job_id)
            if job is None:
                raise unknown_dependency(job_id)
            jobs.append((job_id, job.queue))
        return Flow(needs=Needs(jobs=tuple(jobs), run_after=self.run_after))


def unknown_dependency(job_id: str) -> Problem:
    """422."""
    return json_body.invalid("query.depends_on", f"names the job '{job_id}', which is not known")


def divided_dependencies(error: DividedDependencies) -> Problem:
    """422."""
    return json_body.invalid("query.depends_on", str(error))


class DependsQuery(BaseModel):
    """The query parameters that name the jobs which a new one waits for."""

    depends_on: DependsOn = None
    run_after: RunAfterParam = None

    def dependencies(self) -> Dependencies | None:
        """None if none are named. Raises Problem 422 for too many, and if only `run_after` is given."""
        if self.depends_on is None:
            if self.run_after is not None:
                raise json_body.invalid("query.run_after", "says nothing without depends_on")
            return None
        job_ids = tuple(dict.fromkeys(name for name in self.depends_on.split(",") if name))
        if not 0 < len(job_ids) <= MAX_DEPENDS_ON:
            raise json_body.invalid("query.depends_on", f"names 1 to {MAX_DEPENDS_ON} jobs")
        return Dependencies(job_ids, self.run_after or "all_succeeded")


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
