"""The job that a path names: found, or the 404 that says it is unknown."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from errand.http.answers.problems import Problem, documented
from errand.http.shared import Shared
from errand.monitor.job_snapshot import JobSnapshot

JOB_ID = "01a1fb3e-c9b6-7ba1-a6cf-febc51219219"


JobId = Annotated[str, Path(max_length=128, description="the job's id", examples=[JOB_ID])]


UNKNOWN = documented({404: "no such job, or it has been forgotten"})


async def found(to: Shared, job_id: str) -> JobSnapshot:
    """The job as it is now. Raises Problem 404."""
    job = await to.find(job_id)
    if job is None:
        raise is_type(job_id) if job_id in to.catalog else unknown(job_id)
    return job


def is_type(name: str) -> Problem:
    """404, for what is often meant otherwise."""
    detail = f"'{name}' is a job type, and no job's id. To put such a job, POST its args to /v1/jobs/{name}."
    return Problem(404, "unknown-job", detail)


def unknown(job_id: str) -> Problem:
    """404."""
    return Problem(404, "unknown-job", f"There is no job '{job_id}'. It never was, or it has been forgotten.")
