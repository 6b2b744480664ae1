"""`POST /v1/jobs/{type}`: one route for each job type, made from its description."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from arq.utils import to_unix_ms
from fastapi import APIRouter, Body, Depends, Query, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel

from jobs.engine.catalog import Catalog
from jobs.engine.job_type import JobType
from jobs.engine.queue import Enqueued
from jobs.engine.snapshot import JobSnapshot
from service import auth, uploads
from service.dependencies import Shared, SharedDep, redis_deadline
from service.durations import DurationS
from service.json_body import StrictJsonRoute
from service.problems import FaultyField, Problem, documented
from service.views import JobView, job_view, json_response

ERRORS = documented(
    {
        401: "no key, or a wrong one",
        403: "the key lacks the scope",
        413: "the body is too large",
        422: "the request does not fit; each faulty field is named",
        503: "Redis cannot be reached; nothing was accepted",
    }
)


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999 in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class When:
    """The query parameters that say when a job is due."""

    def __init__(
        self,
        delay: Annotated[DurationS | None, Query(description="how long from now: seconds, or `10m`-like")] = None,
        run_at: Annotated[
            Moment | None,
            Query(description="when, RFC 3339; at once where that has passed", examples=["2030-01-01T09:00:00Z"]),
        ] = None,
    ) -> None:
        if delay is not None and run_at is not None:
            errors = [FaultyField(field="query.delay", message="cannot be given together with run_at")]
            raise Problem(422, "invalid-request", "Give either delay or run_at, not both.", errors=errors)
        self.delay_ms = int((delay or 0) * 1000)
        self.run_at_ms = None if run_at is None else to_unix_ms(run_at)


def router(catalog: Catalog) -> APIRouter:
    """A route for each type of the catalog, and one that says which there are."""
    routes = APIRouter(
        prefix="/v1/jobs",
        tags=["jobs"],
        dependencies=[Depends(auth.require("write"))],
        route_class=StrictJsonRoute,
    )
    for job_type in catalog.values():
        endpoint = _upload_endpoint(job_type) if job_type.file_field else _json_endpoint(job_type)
        routes.add_api_route(
            f"/{job_type.name}",
            endpoint,
            methods=["POST"],
            status_code=202,
            response_model=JobView,
            responses=ERRORS,
            summary=job_type.summary,
            operation_id=f"enqueue_{job_type.name}",
            openapi_extra=uploads.request_body(job_type) if job_type.file_field else None,
        )

    @routes.post("/{type}", include_in_schema=False)
    async def unknown_type(type: str) -> None:
        known = ", ".join(sorted(catalog))
        raise Problem(404, "unknown-job-type", f"There is no job type '{type}'. The types are: {known}.")

    return routes


def _json_endpoint(job_type: JobType[Any, Any]) -> Any:
    model = job_type.args_model

    async def endpoint(
        to: SharedDep,
        when: Annotated[When, Depends()],
        args: Annotated[model, Body(openapi_examples=_examples(job_type))],  # type: ignore[valid-type]
    ) -> Response:
        return await enqueue(to, job_type, args, when)

    # resolved here: a string annotation could not see `model`
    endpoint.__annotations__["args"] = Annotated[model, Body(openapi_examples=_examples(job_type))]
    return endpoint


def _upload_endpoint(job_type: JobType[Any, Any]) -> Any:
    async def endpoint(request: Request, to: SharedDep, when: Annotated[When, Depends()]) -> Response:
        async with uploads.received_args(request, to.storage, job_type) as args:
            return await enqueue(to, job_type, args, when)

    return endpoint


async def enqueue(to: Shared, job_type: JobType[Any, Any], args: BaseModel, when: When) -> Response:
    """Puts the job and answers 202 with it as it now is, which needs no second look at Redis."""
    known_args = args.model_dump(mode="json", exclude_defaults=True)
    async with redis_deadline():
        put = await to.queue.enqueue(job_type.name, known_args, delay_ms=when.delay_ms, run_at_ms=when.run_at_ms)
    view = job_view(_just_put(job_type, known_args, put, queue_name=to.queue.name), to.catalog)
    return json_response(view, status=202, headers={"Location": view.links["self"]})


def _just_put(job_type: JobType[Any, Any], args: dict[str, Any], put: Enqueued, *, queue_name: str) -> JobSnapshot:
    return JobSnapshot(
        id=put.job_id,
        type=job_type.name,
        queue=queue_name,
        status="deferred" if put.deferred else "queued",
        attempt=0,
        args=args,
        enqueued_at_ms=put.enqueued_at_ms,
        run_at_ms=put.due_at_ms,
    )


def _examples(job_type: JobType[Any, Any]) -> dict[str, Any]:
    return {f"example {number}": {"value": value} for number, value in enumerate(job_type.examples, start=1)}
