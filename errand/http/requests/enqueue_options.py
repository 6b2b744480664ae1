"""What a request that puts jobs asks for besides their args: read here for every route that puts jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from errand.http.gates import known_query
from errand.http.requests import idempotency, json_body
from errand.http.requests.args import KeptArgs
from errand.http.requests.due import Dependencies, DependsQuery, DueQuery
from errand.http.requests.idempotency import KeyedRequest, KeyHeader
from errand.http.requests.limits import LimitsQuery, check_due
from errand.http.requests.uniqueness import Uniqueness, UniqueQuery
from errand.http.requests.waits import PreferHeader
from errand.http.scope import first_headers
from errand.job.job_type import JobType
from errand.job.when import AT_ONCE, When
from errand.queue.uniqueness import Unique
from errand.tracing import current
from errand.wire.limits import JobLimits, of_type
from errand.wire.origin import request_id

REQUEST_ID_HEADER = b"x-request-id"


@dataclass(frozen=True, slots=True)
class EnqueueOptions:
    """When the jobs are due, what they must not share, under which key the request came, their limits."""

    when: When = AT_ONCE
    unique: Uniqueness | None = None
    keyed: KeyedRequest | None = None
    limits: JobLimits | None = None
    dependencies: Dependencies | None = None

    def of_type(self, job_type: JobType[Any, Any], args: KeptArgs) -> EnqueueOptions:
        """The same for a job of that type, with what the type asks for unless the request does."""
        limits = of_type(self.limits, priority=job_type.priority)
        repeats = job_type.repeats if self.unique is None else None
        if repeats is None:
            return self if limits is self.limits else replace(self, limits=limits)
        unique = Uniqueness(Unique.of_repeats(repeats, args), "return")
        when = When(delay_ms=repeats.delay_ms) if self.when == AT_ONCE else self.when
        return replace(self, when=when, unique=unique, limits=limits)


class BatchQuery(LimitsQuery, DueQuery):
    """The query parameters of a request that puts many jobs."""

    def options(self, keyed: KeyedRequest | None) -> EnqueueOptions:
        """Raises Problem 422 for parameters that contradict each other."""
        when, limits = self.when(), self.limits()
        check_due(limits, when)
        return EnqueueOptions(when=when, keyed=keyed, limits=limits)


class EnqueueQuery(DependsQuery, UniqueQuery, BatchQuery):
    """The query parameters of a request that puts one job."""

    def options(self, keyed: KeyedRequest | None) -> EnqueueOptions:
        """Raises Problem 422 for parameters that contradict each other."""
        shared, unique, dependencies = super().options(keyed), self.uniqueness(), self.dependencies()
        if unique is not None and dependencies is not None:
            raise json_body.invalid("query.unique_key", "cannot be given together with depends_on")
        return EnqueueOptions(
            when=shared.when, unique=unique, keyed=keyed, limits=shared.limits, dependencies=dependencies
        )


NONE = EnqueueOptions()


def read(request: Request, query: type[BatchQuery] = EnqueueQuery) -> EnqueueOptions:
    """What the query and the headers ask for; `query` has the parameters that the route takes.

    Raises RequestValidationError or Problem 422 for a query that does not fit, and Problem 400 for an idempotency key
    that is malformed.
    """
    keyed = idempotency.read(request)
    _note_request_id(request)
    if request.scope["query_string"]:
        return _checked(request, query).options(keyed)
    return NONE if keyed is None else EnqueueOptions(keyed=keyed)


def _note_request_id(request: Request) -> None:
    """The jobs of this request have it, and the lines that are logged for them; one that is no id is left out."""
    if REQUEST_ID_HEADER not in first_headers(request.scope):
        current.enter_request(None)  # another server may have left that of the request before
        return
    for name, value in request.scope["headers"]:
        if name == REQUEST_ID_HEADER:
            current.REQUEST_ID.set(request_id(value.decode("latin-1")))


def _checked(request: Request, query: type[BatchQuery]) -> BatchQuery:
    known_query.check(request)
    given = request.query_params
    try:
        return query.model_validate({name: given[name] for name in query.model_fields if name in given})
    except ValidationError as error:
        # as FastAPI words it for the routes whose query it reads
        faults = [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from None


async def enqueue_parameters(
    query: Annotated[EnqueueQuery, Query()], idempotency_key: KeyHeader = None, prefer: PreferHeader = None
) -> None:
    """The parameters of a request that puts one job, for the OpenAPI document: `read` reads them."""


async def batch_parameters(query: Annotated[BatchQuery, Query()], idempotency_key: KeyHeader = None) -> None:
    """The parameters of a request that puts many jobs, for the OpenAPI document: `read` reads them."""
