"""What a caller may ask of a job besides its args: when it is due, which others it excludes, how often it is tried."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypedDict, Unpack, get_args

from arq.utils import to_unix_ms
from pydantic import TypeAdapter

from errand.job.producing.repeats import Repeats, repeats_of
from errand.job.when import AT_ONCE, DurationS, Moment, When
from errand.wire.flow import RunAfter
from errand.wire.limits import JobLimits, of_type

Duration = float | str | timedelta
"""Seconds, a text such as `10m` or `2h30m`, or a timedelta."""


OnConflict = Literal["return", "reject", "replace"]


JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}")


MAX_UNIQUE_KEY_CHARS = 200
"""As the HTTP API takes it."""


MAX_DEPENDS_ON = 1_000
"""One call takes them all to Redis."""


class NamesJob(Protocol):
    """A job that was put, or will be: a `JobHandle`, or what `ctx.add_task` returns."""

    @property
    def id(self) -> str: ...

    @property
    def queue(self) -> str | None: ...


class GivenOptions(TypedDict, total=False):
    """The options of `enqueue`, `options` and `ctx.add_task`, by name."""

    delay: Duration | None
    """How long from now the job is due."""
    run_at: datetime | None
    """When the job is due, with a time zone. If that time has passed, it is due at once."""
    job_id: str | None
    """The id of the job. While Redis has or remembers a job with this id, Errand puts no other."""
    expires_in: Duration | None
    """A job that has not started by then fails as `Expired`."""
    max_tries: int | None
    """Replaces `max_tries` of the job type."""
    priority: int | None
    """From 0, the lowest, to 9; replaces `priority` of the job type."""
    unique_key: str | None
    """Errand puts the job only if no other job of its type holds this key."""
    unique_for: Duration | None
    """How long the job holds the key, from now. Without it the job holds the key until it has ended."""
    debounce: Duration | None
    """The job runs once, when nobody has put an equal one for this long, with the args of the last."""
    debounce_key: str | None
    """Which jobs are equal, as a template over the args: `"{document_id}"`. Without it, those whose args all are."""
    throttle: Duration | None
    """Errand puts the job only if it has put no equal one within this time."""
    throttle_key: str | None
    """Which jobs are equal, as with `debounce_key`."""
    on_conflict: OnConflict
    """If another job holds the key: `return` that one (the default), `reject` this one, or `replace` that one."""
    depends_on: Sequence[NamesJob | str]
    """Jobs, or their ids, that must succeed before this one is due. It waits in its queue and takes no slot."""
    run_after: RunAfter
    """What happens if one of them fails or is cancelled. `all_succeeded` (the default): this job ends in the same way.
    `all_ended`: it runs all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """The same, read and checked."""

    when: When = AT_ONCE
    limits: JobLimits | None = None
    job_id: str | None = None
    unique_key: str | None = None
    unique_for_s: float | None = None
    on_conflict: OnConflict = "return"
    depends_on: tuple[tuple[str, str | None], ...] = ()
    """The ids of the jobs, and the names of their queues as far as they are known."""
    run_after: RunAfter = "all_succeeded"
    repeats: Repeats | None = None
    undivided: bool = False
    """Jobs of its type have limits, so they lie in one partition."""

    @classmethod
    def of(cls, **given: Unpack[GivenOptions]) -> JobOptions:
        """Raises ValueError for an option out of range, or two that contradict each other, TypeError for others."""
        if unknown := given.keys() - GivenOptions.__annotations__.keys():
            raise TypeError(f"there is no option {', '.join(sorted(unknown))}")
        job_id, unique_key, unique_for = given.get("job_id"), given.get("unique_key"), given.get("unique_for")
        if job_id is not None and not JOB_ID.fullmatch(job_id):
            raise ValueError(f"{job_id!r} is no job id: up to 128 letters, digits and '._:@+-'")
        on_conflict = given.get("on_conflict", "return")
        if on_conflict not in get_args(OnConflict):
            raise ValueError(f"on_conflict is one of {', '.join(get_args(OnConflict))}")
        if unique_key is None and (unique_for is not None or "on_conflict" in given):
            raise ValueError("unique_for and on_conflict say nothing without unique_key")
        if unique_for is not None and ms_of(unique_for) < 1:
            raise ValueError("unique_for is at least a millisecond")
        if unique_key is not None and not (0 < len(unique_key) <= MAX_UNIQUE_KEY_CHARS and unique_key.isprintable()):
            raise ValueError(f"unique_key has 1 to {MAX_UNIQUE_KEY_CHARS} printable characters")
        if "run_after" in given and not given.get("depends_on"):
            raise ValueError("run_after says nothing without depends_on")
        repeats = _repeats(given)
        if (unique_key is not None or repeats is not None) and given.get("depends_on"):
            raise ValueError("a job that waits for others has no unique_key, debounce or throttle")
        if repeats is not None and unique_key is not None:
            raise ValueError("unique_key says which jobs are equal, and so do debounce and throttle: give one of them")
        if repeats is not None and repeats.moves and (given.get("delay") or given.get("run_at")):
            raise ValueError("debounce says when the job is due: give no delay and no run_at")
        return cls(
            depends_on=_named(given.get("depends_on", ())),
            run_after=_run_after(given.get("run_after", "all_succeeded")),
            when=_when(given.get("delay"), given.get("run_at")),
            limits=_limits(given.get("expires_in"), given.get("max_tries"), given.get("priority")),
            job_id=job_id,
            unique_key=unique_key,
            unique_for_s=None if unique_for is None else ms_of(unique_for) / 1000,
            on_conflict=on_conflict,
            repeats=repeats,
        )

    def of_type(self, *, priority: int, repeats: Repeats | None = None, undivided: bool = False) -> JobOptions:
        """The same for a job of a type that has these, unless others are asked for."""
        if not priority and repeats is None and not undivided:
            return self
        if self.repeats is not None or self.unique_key is not None or self.depends_on:
            repeats = self.repeats
        return replace(self, limits=of_type(self.limits, priority=priority), repeats=repeats, undivided=undivided)

    def for_many(self) -> JobOptions:
        """The same, for several jobs. Raises ValueError for what only one job can have."""
        if self.job_id is not None or self.unique_key is not None:
            raise ValueError("a job_id or a unique_key is for one job: put them one by one")
        if self.repeats is not None:
            raise ValueError(f"jobs with {self.repeats.kind} stand for one another: put them one by one")
        return self

    @property
    def delay_ms(self) -> int:
        """From the enqueue."""
        return self.when.delay_ms or (0 if self.repeats is None else self.repeats.delay_ms)


NO_OPTIONS = JobOptions()


def _named(jobs: Sequence[NamesJob | str]) -> tuple[tuple[str, str | None], ...]:
    if isinstance(jobs, str):
        raise ValueError("depends_on is a list of jobs or of their ids")
    if len(jobs) > MAX_DEPENDS_ON:
        raise ValueError(f"a job waits for up to {MAX_DEPENDS_ON} others; a group may have more")
    if any(hasattr(job, "steps") for job in jobs):
        raise ValueError("a chain's last job is not there yet: have the job that waits for it be its next step")
    named = dict((job, None) if isinstance(job, str) else (job.id, job.queue) for job in jobs)
    return tuple(named.items())


def _run_after(name: RunAfter) -> RunAfter:
    if name not in get_args(RunAfter):
        raise ValueError(f"run_after is one of {', '.join(get_args(RunAfter))}")
    return name


def _when(delay: Duration | None, run_at: datetime | None) -> When:
    if delay is not None and run_at is not None:
        raise ValueError("give either delay or run_at, not both")
    if run_at is not None:
        return When(run_at_ms=to_unix_ms(TypeAdapter(Moment).validate_python(run_at)))
    return When(delay_ms=ms_of(delay or 0))


def _repeats(given: GivenOptions) -> Repeats | None:
    debounce, throttle = given.get("debounce"), given.get("throttle")
    return repeats_of(
        None if debounce is None else ms_of(debounce) / 1000,
        given.get("debounce_key"),
        None if throttle is None else ms_of(throttle) / 1000,
        given.get("throttle_key"),
    )


def _limits(expires_in: Duration | None, max_tries: int | None, priority: int | None) -> JobLimits | None:
    if expires_in is None and max_tries is None and priority is None:
        return None
    expires_in_ms = None if expires_in is None else ms_of(expires_in)
    return JobLimits(max_tries=max_tries, expires_in_ms=expires_in_ms, priority=priority)


def ms_of(duration: Duration) -> int:
    """In ms. Raises ValueError for what is no length of time."""
    duration_s = duration.total_seconds() if isinstance(duration, timedelta) else duration
    return int(TypeAdapter(DurationS).validate_python(duration_s) * 1000)
