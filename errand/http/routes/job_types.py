"""`GET /v1/job-types`: what can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from errand.http.answers.problems import ERRORS
from errand.http.gates import auth
from errand.http.shared import SharedDep
from errand.job.job_type import JobType
from errand.job.limits import Concurrency, Limit

router = APIRouter(prefix="/v1/job-types", tags=["job types"])


class LimitView(BaseModel):
    """A limit on the jobs of a type, in all workers together."""

    kind: Literal["concurrency", "rate"] = Field(description="how many run at once, or start within a time")
    most: int
    per_s: float | None = Field(description="the time of a rate; else null")
    key: str | None = Field(description="jobs with the same key count together; null: all do", examples=["{customer}"])


class RepeatsView(BaseModel):
    """What becomes of equal jobs that are put one after another."""

    kind: Literal["debounce", "throttle"]
    period_s: float
    key: str | None = Field(description="jobs with the same key are equal; null: those with the same args")


class JobTypeView(BaseModel):
    """One kind of job."""

    name: str
    summary: str
    queue: str
    takes_file: bool
    args_schema: Mapping[str, Any]
    result_schema: Mapping[str, Any]
    max_tries: int
    timeout_s: float
    retry: Mapping[str, Any]
    priority: int = Field(description="of its jobs, unless a request says otherwise: from 0, the lowest, to 9")
    limits: list[LimitView]
    repeats: RepeatsView | None
    links: dict[str, str]


@router.get(
    "",
    responses={status: ERRORS[status] for status in (401, 403, 429)},
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_job_types",
)
async def list_job_types(to: SharedDep) -> list[JobTypeView]:
    """Every job type: the JSON Schema of its args, its retry policy, its time limit."""
    return [_view(job_type, to.root_path) for _, job_type in sorted(to.catalog.items())]


def _view(job_type: JobType[Any, Any], root_path: str) -> JobTypeView:
    return JobTypeView(
        name=job_type.name,
        summary=job_type.summary,
        queue=job_type.queue,
        takes_file=job_type.file_field is not None,
        args_schema=job_type.args_schema,
        result_schema=job_type.result_schema,
        max_tries=job_type.max_tries,
        timeout_s=job_type.timeout_s,
        retry=job_type.retry.describe(),
        priority=job_type.priority,
        limits=[_limit(limit) for limit in job_type.limits],
        repeats=job_type.repeats and RepeatsView(**asdict(job_type.repeats)),
        links={"enqueue": f"{root_path}/v1/jobs/{job_type.name}"},
    )


def _limit(limit: Limit) -> LimitView:
    if isinstance(limit, Concurrency):
        return LimitView(kind="concurrency", most=limit.most, per_s=None, key=limit.key)
    return LimitView(kind="rate", most=limit.most, per_s=limit.per_ms / 1000, key=limit.key)
