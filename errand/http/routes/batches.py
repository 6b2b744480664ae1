"""`POST /v1/jobs/{type}/batch`: many jobs of one type in one request, all or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from errand.http.answers.job_view import DURABILITY, json_response
from errand.http.answers.problems import ERRORS, KEY_ERRORS
from errand.http.gates import auth
from errand.http.requests import args as job_args
from errand.http.requests import enqueue_options, idempotency, json_body
from errand.http.requests.args import KeptArgs
from errand.http.requests.enqueue_options import BatchQuery, EnqueueOptions, batch_parameters
from errand.http.requests.json_array import NO_ARRAY, NotItems, Stretch, stretches_of
from errand.http.routes.enqueue_route import Endpoint, EnqueueRoute, guarded_by
from errand.http.shared import Shared, shared_of
from errand.job.args_context import ArgsContext
from errand.job.catalog import Catalog
from errand.job.job_type import JobType
from errand.queue.idempotency import KeyReused
from errand.queue.new_job import Enqueued
from errand.queue.sender import MAX_BATCH
from errand.redis.durability import Grade
from errand.settings import Settings
from errand.wire.limits import of_type

STRETCH_BYTES, ITEM_BYTES = 128 * 1024, 512
"""So much is checked in one turn of the event loop: other requests wait no longer than that takes. An item costs as
much as so many bytes more. By two hundred items, twenty of a mebibyte each held up all others for three seconds."""


FAULTS_SHOWN = 100


class Batch(BaseModel):
    """What was put."""

    count: int
    ids: list[str] = Field(description="in the order of the request")
    durability: Grade = DURABILITY


def router(catalog: Catalog, *, dependencies: Sequence[Any] = ()) -> APIRouter:
    """A route for each type of the catalog; `dependencies` are those that the app runs for every route."""
    routes = APIRouter(
        prefix="/v1/jobs", tags=["jobs"], route_class=guarded_by(dependencies) if dependencies else EnqueueRoute
    )
    for job_type in catalog.values():
        routes.add_api_route(
            f"/{job_type.name}/batch",
            _endpoint(job_type),
            methods=["POST"],
            dependencies=[Depends(auth.require("write")), Depends(batch_parameters)],
            status_code=202,
            response_model=Batch,
            responses={**ERRORS, 400: KEY_ERRORS[400]},
            summary=f"{job_type.summary.rstrip('.')}: up to {MAX_BATCH} at once, all or none.",
            operation_id=f"enqueue_{job_type.name}_batch",
            openapi_extra=_request_body(job_type),
        )
    return routes


def _endpoint(job_type: JobType[Any, Any]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        await auth.admit(request, "write")
        options, to = enqueue_options.read(request, BatchQuery), shared_of(request)
        if job_type.repeats is not None:
            what = f"{job_type.repeats.kind} of this type has one job stand for equal ones"
            raise json_body.invalid("body", f"{what}: put them one by one")
        json_body.check_media_type(request)
        body = request.stream() if options.keyed is None else options.keyed.taking("body", request.stream())
        many_args = await _checked(to, job_type, _items(body, to.settings))
        return _accepted(await _put(to, job_type, many_args, options))

    return endpoint


async def _put(
    to: Shared, job_type: JobType[Any, Any], many_args: list[KeptArgs], options: EnqueueOptions
) -> list[Enqueued]:
    try:
        return await to.queue_of(job_type).enqueue_many(
            job_type.name,
            many_args,
            delay_ms=options.when.delay_ms,
            run_at_ms=options.when.run_at_ms,
            idempotency=None if options.keyed is None else options.keyed.idempotency(),
            limits=of_type(options.limits, priority=job_type.priority),
        )
    except KeyReused:
        raise idempotency.reused() from None


def _accepted(put: list[Enqueued]) -> Response:
    # one call put them all, and one answer stands for all
    batch = Batch(count=len(put), ids=[job.job_id for job in put], durability=put[0].durability)
    return json_response(batch, status=202, headers=idempotency.REPLAYED if put[0].replayed else None)


async def _items(body: AsyncIterator[bytes], settings: Settings) -> AsyncIterator[tuple[int, Stretch]]:
    """Items, with the index of the first. Raises Problem 422 for what are none, or more than can be put together."""
    limit = settings.queue_limit
    most, why = (limit, "a queue holds here") if 0 < limit < MAX_BATCH else (MAX_BATCH, "one request may have")
    number = 0
    try:
        async for stretch in stretches_of(body, item_limit_bytes=settings.body_limit_bytes):
            first, number = number, number + len(stretch[0])
            if number > most:
                raise json_body.invalid("body", f"has more than the {most} jobs that {why}: send fewer")
            yield first, stretch
    except NotItems as error:
        message = f"{NO_ARRAY} of 1 to {most} args" if str(error) == NO_ARRAY else str(error)
        raise json_body.invalid("body" if error.index is None else f"body.{error.index}", message) from None
    if not number:
        raise json_body.invalid("body", f"{NO_ARRAY} of 1 to {most} args")


async def _checked(
    to: Shared, job_type: JobType[Any, Any], items: AsyncIterator[tuple[int, Stretch]]
) -> list[KeptArgs]:
    """The args as they go into the queue; raises a 422 that names each faulty item by its index."""
    context = ArgsContext(settings=to.settings)
    checked: list[KeptArgs] = []
    faults: list[dict[str, Any]] = []
    stretch_bytes = 0
    async for first, (values, size_bytes) in items:
        item_bytes = ITEM_BYTES + size_bytes // len(values)
        for index, args in enumerate(values, first):
            if stretch_bytes > STRETCH_BYTES:
                stretch_bytes = 0
                await asyncio.sleep(0)
            stretch_bytes += item_bytes
            try:
                checked.append(job_args.checked(job_type, args, index, context=context))
                if context.later:
                    await job_args.check_later(to, context, index)
            except RequestValidationError as error:
                faults += error.errors()
                if len(faults) >= FAULTS_SHOWN:
                    raise RequestValidationError(faults[:FAULTS_SHOWN]) from None
    if faults:
        raise RequestValidationError(faults[:FAULTS_SHOWN])
    return checked


def _request_body(job_type: JobType[Any, Any]) -> dict[str, Any]:
    args = {"$ref": f"#/components/schemas/{job_type.args_model.__name__}"}
    schema = {"type": "array", "items": args, "minItems": 1, "maxItems": MAX_BATCH}
    examples = {"example": {"value": [example for example in job_type.examples if job_type.takes(example)]}}
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}
