"""`POST /v1/jobs/{type}`: one route for each job type, made from its description."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from arq.utils import to_unix_ms
from fastapi import Body, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BaseModel, ValidationError

from jobs.engine import secret_args
from jobs.engine.catalog import Catalog
from jobs.engine.job_type import JobType
from jobs.engine.queue import Enqueued
from jobs.engine.snapshot import JobSnapshot
from service import auth, json_body, known_query, uploads
from service.checked_args import checked_args
from service.dependencies import Shared, SharedDep
from service.durations import DurationS
from service.problems import FaultyField, Problem, documented
from service.views import AcceptedJobView, new_job_json

ERRORS = documented(
    {
        401: "no key, or a wrong one",
        403: "the key lacks the scope",
        413: "the body is too large",
        422: "the request does not fit; each faulty field is named",
        429: "too many requests in the time that `RATE_LIMIT` names; `Retry-After` says when to come back",
        503: "Redis cannot be reached, or the queue is full; nothing was promised",
    }
)


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999 in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


@dataclass(frozen=True, slots=True)
class When:
    """When a job is due: so many ms from now, or at a moment in ms since the epoch."""

    delay_ms: int = 0
    run_at_ms: int | None = None


AT_ONCE = When()


async def when(
    delay: Annotated[DurationS | None, Query(description="how long from now: seconds, or `10m`-like")] = None,
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


def install(app: FastAPI, catalog: Catalog) -> None:
    """A route for each type of the catalog, and one that says which there are.

    They go right into the app: an included router is one more table to look a request up in, and these are busy.
    """
    for job_type in catalog.values():
        takes_file = job_type.file_field is not None
        app.router.add_api_route(
            f"/v1/jobs/{job_type.name}",
            _upload_endpoint(job_type) if takes_file else _json_endpoint(job_type),
            methods=["POST"],
            tags=["jobs"],
            dependencies=[Depends(auth.require("write"))],
            status_code=202,
            response_model=AcceptedJobView,
            responses=ERRORS,
            summary=job_type.summary,
            operation_id=f"enqueue_{job_type.name}",
            openapi_extra=uploads.request_body(job_type) if takes_file else None,
            route_class_override=APIRoute if takes_file else EnqueueRoute,
        )

    @app.post("/v1/jobs/{type}", include_in_schema=False, dependencies=[Depends(auth.require("write"))])
    async def unknown_type(type: str) -> None:
        known = ", ".join(sorted(catalog))
        raise Problem(404, "unknown-job-type", f"There is no job type '{type}'. The types are: {known}.")


class EnqueueRoute(APIRoute):
    """The one busy route: FastAPI documents it from its endpoint's signature, `endpoint.by_hand` answers it.

    To resolve four dependencies costs FastAPI more than all the rest of the request takes.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        by_hand: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint.by_hand  # type: ignore[attr-defined]
        return by_hand


def _json_endpoint(job_type: JobType[Any, Any]) -> Any:
    model = job_type.args_model

    async def endpoint(to: SharedDep, when: WhenDep, args: Any) -> Response:
        raise AssertionError("answered by hand")

    # set here: a string annotation could not see `model`
    endpoint.__annotations__["args"] = Annotated[model, Body(openapi_examples=_examples(job_type))]
    endpoint.by_hand = _json_handler(job_type)  # type: ignore[attr-defined]  # read by EnqueueRoute
    return endpoint


def _json_handler(job_type: JobType[Any, Any]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """What the signature of the endpoint says, done in its order: the key, the time, the body, the job."""

    async def handle(request: Request) -> Response:
        await auth.admit(request, "write")
        at = await _when_of(request) if request.scope["query_string"] else AT_ONCE
        args = checked_args(job_type, await json_body.read(request))
        return await enqueue(request.app.state.shared, job_type, args, at)

    return handle


async def _when_of(request: Request) -> When:
    """The query parameters, checked as FastAPI checks them for the other routes."""
    known_query.check(request)
    given = request.query_params
    try:
        query = _WhenQuery.model_validate({name: given[name] for name in ("delay", "run_at") if name in given})
    except ValidationError as error:
        faults = [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from None
    return await when(query.delay, query.run_at)


class _WhenQuery(BaseModel):
    delay: DurationS | None = None
    run_at: Moment | None = None


def _upload_endpoint(job_type: JobType[Any, Any]) -> Any:
    async def endpoint(request: Request, to: SharedDep, when: WhenDep) -> Response:
        async with uploads.received_args(request, to.storage, job_type) as args:
            return await enqueue(to, job_type, args, when)

    return endpoint


async def enqueue(
    to: Shared, job_type: JobType[Any, Any], args: BaseModel, when: When, *, queue: str | None = None
) -> Response:
    """Puts the job, where no `queue` is named into that of its type, and answers 202 with it as it now is.

    That needs no second look at Redis.
    """
    name, known_args = queue or job_type.queue, secret_args.kept(args)
    put = await to.queues[name].enqueue(job_type.name, known_args, delay_ms=when.delay_ms, run_at_ms=when.run_at_ms)
    shown = new_job_json(
        _just_put(job_type, known_args, put, queue=name), max_tries=job_type.max_tries, durability=put.durability
    )
    headers = {"Location": f"/v1/jobs/{put.job_id}"}
    return Response(shown, status_code=202, media_type="application/json", headers=headers)


def _just_put(job_type: JobType[Any, Any], args: dict[str, Any], put: Enqueued, *, queue: str) -> JobSnapshot:
    return JobSnapshot(
        id=put.job_id,
        type=job_type.name,
        queue=queue,
        status="deferred" if put.deferred else "queued",
        attempt=0,
        args=job_type.shown_args(args),
        enqueued_at_ms=put.enqueued_at_ms,
        run_at_ms=put.due_at_ms,
    )


def _examples(job_type: JobType[Any, Any]) -> dict[str, Any]:
    return {f"example {number}": {"value": value} for number, value in enumerate(job_type.examples, start=1)}
