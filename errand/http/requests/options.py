"""What an enqueue request asks for besides its args, read from the query by hand for the busy routes."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from errand.http.gates import known_query
from errand.http.requests import limits as job_limits
from errand.http.requests import uniqueness
from errand.http.requests.due import when
from errand.http.requests.idempotency import KeyedRequest
from errand.http.requests.limits import LimitsQuery
from errand.http.requests.uniqueness import Uniqueness, UniqueQuery
from errand.job.when import AT_ONCE, DurationS, Moment, When
from errand.wire.limits import JobLimits


@dataclass(frozen=True, slots=True)
class EnqueueOptions:
    """What a request asks for besides the args of its job."""

    when: When = AT_ONCE
    unique: Uniqueness | None = None
    keyed: KeyedRequest | None = None
    limits: JobLimits | None = None


PLAIN = EnqueueOptions()


async def options_of(request: Request) -> EnqueueOptions:
    """The query parameters, checked as FastAPI checks them for the other routes."""
    known_query.check(request)
    given = request.query_params
    try:
        query = _Query.model_validate({name: given[name] for name in _Query.model_fields if name in given})
    except ValidationError as error:
        faults = [{**fault, "loc": ("query", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from None
    options = EnqueueOptions(
        await when(query.delay, query.run_at),
        await uniqueness.uniqueness(query.unique_key, query.unique_for, query.on_conflict),
        limits=await job_limits.job_limits(query.expires_in, query.max_tries),
    )
    job_limits.check_due(options.limits, options.when)
    return options


class _Query(UniqueQuery, LimitsQuery):
    delay: DurationS | None = None
    run_at: Moment | None = None
