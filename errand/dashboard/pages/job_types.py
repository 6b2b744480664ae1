"""The job types: what each takes, how it is retried, and a form to put a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response
from fastapi.exceptions import RequestValidationError

from errand.dashboard import gate, schema_form
from errand.dashboard.charts import retries
from errand.dashboard.forms import Form, FormDep, done
from errand.dashboard.page_route import page_router
from errand.dashboard.pages.job_actions import time_in
from errand.dashboard.pages.jobs import job_path as page_of_job
from errand.dashboard.rendering import page
from errand.dashboard.schema_form import ArgField
from errand.http.answers.job_view import shown_args
from errand.http.answers.problems import Problem
from errand.http.requests import args as job_args
from errand.http.requests import job_path
from errand.http.requests.enqueue_options import EnqueueOptions
from errand.http.routes.enqueue import enqueue
from errand.http.shared import Shared, SharedDep
from errand.job.args_context import ArgsContext
from errand.job.job_type import JobType
from errand.job.when import AT_ONCE

router = page_router("/job-types")

TypeInPath = Annotated[str, Path(max_length=128)]


@router.get("", dependencies=[Depends(gate.may_look)])
async def list_types(request: Request, to: SharedDep) -> Response:
    """Every job type of this service."""
    return page(request, "job_types.html.j2", types=[job_type for _, job_type in sorted(to.catalog.items())])


@router.get("/{type}", dependencies=[Depends(gate.may_look)])
async def show_type(type: TypeInPath, request: Request, to: SharedDep) -> Response:
    """One type; `like` fills the form with the args of that job, if it is of this type."""
    job_type, like = _known(to, type), request.query_params.get("like")
    given = await _args_of(to, job_type, like) if like else {}
    return _shown(request, job_type, schema_form.fields_of(job_type.args_schema, given))


@router.post("/{type}", dependencies=[Depends(gate.may_act("write"))], operation_id="enqueue_from_dashboard")
async def put_job(type: TypeInPath, request: Request, to: SharedDep, form: FormDep) -> Response:
    """Puts a job with the args in the form, and leads to its page."""
    job_type = _known(to, type)
    try:
        job_id = await _put(to, job_type, form)
    except RequestValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'][1:]))}: {fault['msg']}" for fault in error.errors()]
        return _shown(request, job_type, schema_form.shown_in(form, job_type.args_schema), faults=faults)
    return done(request, f"{page_of_job(request, job_id)}?done=put")


async def _put(to: Shared, job_type: JobType[Any, Any], form: Form) -> str:
    raw = schema_form.args_in(form, job_type.args_schema)
    context = ArgsContext(settings=to.settings)
    args = job_args.checked(job_type, raw, context=context)
    await job_args.check_later(to, context)
    delay, run_at = form.get("delay"), form.get("run_at")
    options = EnqueueOptions(when=time_in(delay, run_at) if delay or run_at else AT_ONCE)
    answer = await enqueue(to, job_type, args, options)
    return answer.headers["location"].rpartition("/")[2]


async def _args_of(to: Shared, job_type: JobType[Any, Any], job_id: str) -> Mapping[str, Any]:
    """As a view of the job shows them. Only its own type knows which are secret. Raises Problem 404."""
    job = await job_path.found(to, job_id)
    if job.type != job_type.name:
        raise Problem(404, "unknown-job", f"There is no job '{job.id}' of the type '{job_type.name}'.")
    return shown_args(job_type, job.args)


def _shown(
    request: Request, job_type: JobType[Any, Any], fields: Sequence[ArgField], *, faults: Sequence[str] = ()
) -> Response:
    return page(
        request,
        "job_type.html.j2",
        status=422 if faults else 200,
        type=job_type,
        schema=job_type.args_schema,
        fields=fields,
        faults=faults,
        not_here=schema_form.NOT_HERE,
        retries=retries.drawn(job_type),
    )


def _known(to: Shared, name: str) -> JobType[Any, Any]:
    job_type = to.catalog.get(name)
    if job_type is None:
        raise Problem(404, "unknown-job-type", f"There is no job type '{name}'.")
    return job_type
