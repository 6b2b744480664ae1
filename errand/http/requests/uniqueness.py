"""`unique_key`: one job at a time, or in a while, of those that share it within their type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import AfterValidator, BaseModel, Field

from errand.http.answers.job_view import json_response, path_of
from errand.http.answers.problems import FaultyField, Problem
from errand.http.requests import json_body
from errand.http.shared import Shared, full_view_of
from errand.job.when import DurationS
from errand.queue.uniqueness import NotUnique, Unique

OnConflict = Literal["return", "reject", "replace"]


EXISTING = {"Existing-Job": "true"}


MAX_CHARS = 200


def _printable(key: str) -> str:
    if not key.isprintable():
        raise ValueError("must hold printable characters only")
    return key


UniqueKey = Annotated[
    Annotated[str, Field(min_length=1, max_length=MAX_CHARS), AfterValidator(_printable)] | None,
    Query(description="put the job only if no other of its type holds this key", examples=["user-7"]),
]


UniqueFor = Annotated[
    Annotated[DurationS, Field(ge=0.001)] | None,
    Query(
        description="how long the job holds `unique_key`, from now; without it until the job has ended",
        examples=["10m"],
    ),
]


OnConflictParam = Annotated[
    OnConflict | None,
    Query(
        description="if another job holds `unique_key`: `return` that one (200, the default), `reject` this one (409), "
        "or `replace` that one if it does not run (202, else 409)",
        examples=["reject"],
    ),
]


@dataclass(frozen=True, slots=True)
class Uniqueness:
    """The key that a job must not share, and what is to happen if another job holds it."""

    unique: Unique
    on_conflict: OnConflict


class UniqueQuery(BaseModel):
    """The query parameters that say whether a job may have others of its kind beside it."""

    unique_key: UniqueKey = None
    unique_for: UniqueFor = None
    on_conflict: OnConflictParam = None

    def uniqueness(self) -> Uniqueness | None:
        """None without a key. Raises Problem 422 for the other two without a key."""
        if self.unique_key is None:
            for name, value in (("unique_for", self.unique_for), ("on_conflict", self.on_conflict)):
                if value is not None:
                    raise json_body.invalid(f"query.{name}", "says nothing without unique_key")
            return None
        unique = Unique(key=self.unique_key, for_s=self.unique_for, replace=self.on_conflict == "replace")
        return Uniqueness(unique, self.on_conflict or "return")


async def answer(to: Shared, conflict: NotUnique, asked: Uniqueness) -> Response:
    """200 with the job that holds the key, if `on_conflict` says so. Raises Problem 409."""
    if asked.on_conflict != "return":
        raise _not_unique(conflict, asked)
    job = await to.find(conflict.job_id)
    if job is None:  # deleted at this very moment
        raise _not_unique(conflict, asked)
    headers = {"Location": path_of(job.id, to.root_path), **EXISTING}
    return json_response(await full_view_of(to, job), headers=headers)


def _not_unique(conflict: NotUnique, asked: Uniqueness) -> Problem:
    states = {"waiting": "waits", "running": "runs", "ended": "has ended, but holds it for a while"}
    detail = f"Job {conflict.job_id} holds the unique key '{asked.unique.key}' and {states[conflict.state]}."
    if asked.on_conflict == "replace":
        detail += " Only a job that waits can be replaced."
    errors = [FaultyField(field="query.unique_key", message=f"is held by job {conflict.job_id}")]
    return Problem(409, "not-unique", detail, errors=errors)
