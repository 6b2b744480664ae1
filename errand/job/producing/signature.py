"""`welcome_email.s(to=…, name=…)`: a job that is described and not put, for a chain or a group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from errand.job.producing.checked_args import kept_args, partly_kept_args
from errand.job.producing.options import JobOptions
from errand.wire.flow import Handed, PlannedJob
from errand.wire.job_id import new_job_id

ResultOut = TypeVar("ResultOut", covariant=True)


@dataclass(frozen=True, slots=True)
class HandedOn:
    """Stands for an arg whose value comes from the jobs before, when they have ended.

    - `PREVIOUS`: what the step before in a chain returned.
    - `RESULTS`: what the jobs of a group returned, a list in their order, with null for each that failed.
    - `OUTCOMES`: how the jobs of a group ended, a list of
      `{"id", "status", "result", "error": {"type", "message"} or null}`.

    >>> chain(fetch.s(url=url), count.s(text=PREVIOUS))
    >>> group(resize.s(photo=1), resize.s(photo=2), then=publish.s(photos=RESULTS))
    """

    what: Handed


PREVIOUS: Any = HandedOn("result")
"""An arg of a step: what the step before returned. `chain(fetch.s(url=…), count.s(text=PREVIOUS))`"""


RESULTS: Any = HandedOn("results")
"""An arg of the job that joins a group: what its jobs returned, a list in their order, null for each that failed."""


OUTCOMES: Any = HandedOn("outcomes")
"""The same list with how each ended: `{"id", "status", "result", "error": {"type", "message"} or null}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature(Generic[ResultOut]):
    """A job that you describe and do not put yet, for a chain or a group: `welcome_email.s(to=…, name=…)`.

    The call checks the args.
    """

    type_name: str
    queue: str
    args: Mapping[str, Any]
    handed: Mapping[str, Handed]
    """The args that come from the jobs before it."""
    options: JobOptions
    read: Callable[[Any], ResultOut]
    """Makes the job function's result from its JSON."""

    def planned(self) -> PlannedJob:
        """The same job with an id, in the form in which other jobs carry it along."""
        when, limits = self.options.when, self.options.limits
        return PlannedJob(
            id=self.options.job_id or new_job_id(),
            type=self.type_name,
            queue=self.queue,
            args=dict(self.args),
            handed=dict(self.handed),
            delay_ms=when.delay_ms,
            run_at_ms=when.run_at_ms,
            max_tries=None if limits is None else limits.max_tries,
            expires_in_ms=None if limits is None else limits.expires_in_ms,
            asked_priority=None if limits is None else limits.priority,
            undivided=self.options.undivided,
        )


def signature(job_type: Any, ready: tuple[Any, ...], args: Mapping[str, Any]) -> Signature[Any]:
    """The job, its args checked. Raises what `enqueue` raises for them, and ValueError for a unique key."""
    options: JobOptions = job_type.asked.of_type(
        priority=job_type.priority, repeats=job_type.repeats, undivided=bool(job_type.limits)
    )
    if options.unique_key is not None or options.repeats is not None:
        raise ValueError("a step has no unique_key, debounce or throttle: give it a job_id, which no other job has")
    if options.depends_on:
        raise ValueError("a step has no depends_on: its place in a chain or a group says what it waits for")
    handed = {name: value.what for name, value in args.items() if isinstance(value, HandedOn)}
    known = {name: value for name, value in args.items() if name not in handed}
    return Signature(
        type_name=job_type.name,
        queue=job_type.queue,
        args=partly_kept_args(job_type, known, later=handed) if handed else kept_args(job_type, ready, args),
        handed=handed,
        options=options,
        read=job_type.read_result,
    )
