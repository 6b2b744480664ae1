"""`GET /v1/job-types`: what can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from errand.http.answers.problems import ERRORS
from errand.http.gates import auth
from errand.http.shared import SharedDep
from errand.job.job_type import JobType

router = APIRouter(prefix="/v1/job-types", tags=["job types"])


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
        links={"enqueue": f"{root_path}/v1/jobs/{job_type.name}"},
    )
