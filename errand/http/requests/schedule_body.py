"""Reads a schedule from a request, and names everything that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from errand.http.requests import args as job_args
from errand.http.requests import json_body
from errand.job import cron
from errand.job import when as durations
from errand.job.catalog import Catalog
from errand.job.schedule import GRACE_S, MAX_S, Misfire, Schedule

EXAMPLE = {"cron": "30 9 * * MON-FRI", "timezone": "Europe/Berlin", "misfire": "run_once"}


Expression = Annotated[str, AfterValidator(cron.check_expression)]


Timezone = Annotated[str, AfterValidator(cron.check_timezone)]


MAX_NAME_CHARS = 128
"""Longer than the name of any job type or queue: a longer one is not shown back in the answer."""


LateS = Annotated[
    float,
    BeforeValidator(durations.parse_s),
    Field(ge=0, le=MAX_S),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": MAX_S},
                {"type": "string", "pattern": durations.PATTERN, "maxLength": durations.MAX_CHARS},
            ]
        }
    ),
]
"""Up to a day: a number of seconds, or a text such as `10m`."""


class ScheduleBody(BaseModel):
    """A schedule as a client describes it."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(max_length=MAX_NAME_CHARS, description="the name of a job type", examples=["welcome_email"])
    args: dict[str, Any] = Field({}, description="the args of each of its jobs; they must fit the type")
    cron: Expression = Field(
        description="five fields: minute, hour, day of month, month, day of week; or six, with seconds in front",
        examples=[EXAMPLE["cron"]],
    )
    timezone: Timezone = Field("UTC", description="a name of the IANA database", examples=[EXAMPLE["timezone"]])
    misfire: Misfire = Field(
        "skip", description="what becomes of times that no worker was there for: nothing, or one run for them all"
    )
    grace_s: LateS = Field(GRACE_S, description="a time counts as missed once it is that late")
    jitter_s: LateS = Field(0, description="each job is due up to this much later than its time")
    queue: str | None = Field(None, max_length=MAX_NAME_CHARS, description="null: the job type's")
    enforce: bool = Field(False, description="whether no job is put while its queue is full (`QUEUE_LIMIT`)")

    @field_validator("type")
    @classmethod
    def _check_type(cls, name: str, info: ValidationInfo) -> str:
        catalog = _catalog_in(info)
        if name not in catalog:
            raise ValueError(f"there is no job type '{name}'; the types are: {', '.join(sorted(catalog))}")
        return name

    @field_validator("queue")
    @classmethod
    def _check_queue(cls, name: str | None, info: ValidationInfo) -> str | None:
        catalog = _catalog_in(info)
        if name is not None and name not in catalog.queues:
            raise ValueError(f"there is no queue '{name}'; the queues are: {', '.join(catalog.queues)}")
        return name


def read_schedule(catalog: Catalog, raw: Any) -> tuple[str, Schedule]:
    """The job type's name, and the schedule. Raises RequestValidationError, or a Problem 422."""
    faults: list[dict[str, Any]] = []
    body: ScheduleBody | None = None
    args: Mapping[str, Any] = {}
    try:
        body = ScheduleBody.model_validate(raw, context=catalog)
    except ValidationError as error:
        faults += json_body.faults_of(error)
    try:
        args = _args_in(catalog, raw)
    except RequestValidationError as error:
        faults += error.errors()
    if faults or body is None:
        raise RequestValidationError(faults)
    known = body.model_dump(exclude={"type", "args"})
    return body.type, Schedule(**known, args=args)


def _catalog_in(info: ValidationInfo) -> Catalog:
    assert isinstance(info.context, Catalog), "a schedule is validated against a catalog"
    return info.context


def _args_in(catalog: Catalog, raw: Any) -> Mapping[str, Any]:
    """The args as they go into the queue; none if the body names no type that they could be of."""
    given = raw if isinstance(raw, dict) else {}
    name, args = given.get("type"), given.get("args", {})
    job_type = catalog.get(name) if isinstance(name, str) else None
    if job_type is None or not isinstance(args, dict):
        return {}
    return job_args.checked(job_type, args, "args")


def request_body(catalog: Catalog) -> dict[str, Any]:
    """The OpenAPI description of a body that is read by hand, with an example for each job type."""
    examples = {
        name: {"value": {"type": name, "args": example, **EXAMPLE}}
        for name, job_type in sorted(catalog.items())
        for example in [next(filter(job_type.takes, job_type.examples), None)]
        if example is not None
    }
    schema = {"$ref": f"#/components/schemas/{ScheduleBody.__name__}"}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": examples}}}
    }
