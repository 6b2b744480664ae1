"""A job that is put when the attempt that asks for it has succeeded, in the same moment, and else not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from errand.job.producing.checked_args import kept_args
from errand.job.producing.enqueuing import Describes
from errand.job.producing.options import JobOptions
from errand.wire.job_id import new_job_id

MAX_FOLLOW_UPS = 10_000
"""Of one attempt: a script call holds Redis up for everybody, and this many jobs take it some tens of milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """Such a job; its id is known before."""

    id: str
    type_name: str
    queue: str
    args: Mapping[str, Any]
    options: JobOptions


def follow_up(job_type: Describes, ready: tuple[Any, ...], args: Mapping[str, Any]) -> FollowUp:
    """The job, its args checked. Raises what `enqueue` raises for them, and ValueError for a unique key."""
    options = job_type.asked
    if options.unique_key is not None:
        raise ValueError("a follow-up has no unique_key: give it a job_id, which no other job has")
    return FollowUp(
        id=options.job_id or new_job_id(),
        type_name=job_type.name,
        queue=job_type.queue,
        args=kept_args(job_type, ready, args),
        options=options,
    )
