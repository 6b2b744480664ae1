"""`POST /v1/jobs/{type}/batch`: many jobs of one type in one request, all or none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from errand.http.answers.job_view import DURABILITY, json_response
from errand.http.answers.problems import ERRORS, KEY_ERRORS
from errand.http.gates import auth
from errand.http.requests import idempotency, json_body
from errand.http.requests import limits as job_limits
from errand.http.requests.args import checked_args
from errand.http.requests.due import WhenDep
from errand.http.requests.idempotency import KeyedDep
from errand.http.requests.json_array import NO_ARRAY, NotItems, items_of
from errand.http.requests.limits import LimitsDep
from errand.http.shared import SharedDep
from errand.job.args_context import ArgsContext
from errand.job.catalog import Catalog
from errand.job.job_type import JobType
from errand.queue.idempotency import KeyReused
from errand.queue.sender import MAX_BATCH
from errand.redis.durability import Grade
from errand.secrets import secret_args
from errand.settings import Settings

STRETCH = 200
"""Items that are checked in one turn of the event loop: other requests wait no longer than these take."""


FAULTS_SHOWN = 100


class Batch(BaseModel):
    """What was put."""

    count: int
    ids: list[str] = Field(description="in the order of the request")
    durability: Grade = DURABILITY


def router(catalog: Catalog) -> APIRouter:
    """A route for each type of the catalog."""
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(auth.require("write"))])
    for job_type in catalog.values():
        routes.add_api_route(
            f"/{job_type.name}/batch",
            _endpoint(job_type),
            methods=["POST"],
            status_code=202,
            response_model=Batch,
            responses={**ERRORS, 400: KEY_ERRORS[400]},
            summary=f"{job_type.summary.rstrip('.')}: up to {MAX_BATCH} at once, all or none.",
            operation_id=f"enqueue_{job_type.name}_batch",
            openapi_extra=_request_body(job_type),
        )
    return routes


def _endpoint(job_type: JobType[Any, Any]) -> Any:
    async def endpoint(request: Request, to: SharedDep, when: WhenDep, limits: LimitsDep, keyed: KeyedDep) -> Response:
        job_limits.check_due(limits, when)
        json_body.check_media_type(request)
        body = request.stream() if keyed is None else keyed.taking("body", request.stream())
        many_args = await _checked(job_type, _items(body, to.settings), ArgsContext(settings=to.settings))
        try:
            put = await to.queue_of(job_type).enqueue_many(
                job_type.name,
                many_args,
                delay_ms=when.delay_ms,
                run_at_ms=when.run_at_ms,
                idempotency=None if keyed is None else keyed.idempotency(),
                limits=limits,
            )
        except KeyReused:
            raise idempotency.reused() from None
        # one call put them all, and one answer stands for all
        batch = Batch(count=len(put), ids=[job.job_id for job in put], durability=put[0].durability)
        return json_response(batch, status=202, headers=idempotency.REPLAYED if put[0].replayed else None)

    return endpoint


async def _items(body: AsyncIterator[bytes], settings: Settings) -> AsyncIterator[tuple[int, bytes]]:
    """Each item with its index. Raises Problem 422 for what are no items, or more than can be put together."""
    limit = settings.queue_limit
    most, why = (limit, "a queue holds here") if 0 < limit < MAX_BATCH else (MAX_BATCH, "one request may have")
    index = -1
    try:
        async for item in items_of(body, item_limit_bytes=settings.body_limit_bytes):
            index += 1
            if index == most:
                raise json_body.invalid("body", f"has more than the {most} jobs that {why}: send fewer")
            yield index, item
    except NotItems as error:
        message = f"{NO_ARRAY} of 1 to {most} args" if str(error) == NO_ARRAY else str(error)
        raise json_body.invalid("body" if error.index is None else f"body.{error.index}", message) from None
    if index < 0:
        raise json_body.invalid("body", f"{NO_ARRAY} of 1 to {most} args")


async def _checked(
    job_type: JobType[Any, Any], items: AsyncIterator[tuple[int, bytes]], context: ArgsContext
) -> list[dict[str, Any]]:
    """The args as they go into the queue; raises a 422 that names each faulty item by its index."""
    checked: list[dict[str, Any]] = []
    faults: list[dict[str, Any]] = []
    async for index, item in items:
        if index % STRETCH == STRETCH - 1:
            await asyncio.sleep(0)
        args = json_body.value_in(item, field=f"body.{index}")
        try:
            checked.append(secret_args.kept(checked_args(job_type, args, index, context=context)))
        except RequestValidationError as error:
            faults += error.errors()
            if len(faults) >= FAULTS_SHOWN:
                break
    if faults:
        raise RequestValidationError(faults[:FAULTS_SHOWN])
    return checked


def _request_body(job_type: JobType[Any, Any]) -> dict[str, Any]:
    args = {"$ref": f"#/components/schemas/{job_type.args_model.__name__}"}
    schema = {"type": "array", "items": args, "minItems": 1, "maxItems": MAX_BATCH}
    examples = {"example": {"value": [example for example in job_type.examples if job_type.takes(example)]}}
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}
