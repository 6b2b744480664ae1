"""What a schedule is: when a job type runs again and again, with which args, and what becomes of missed times."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal, Self, get_args

from errand.job import cron
from errand.wire import codec

Misfire = Literal["skip", "run_once"]


SCHEDULE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


JOB_OF_SCHEDULE = re.compile(rf"({SCHEDULE_ID.pattern})-\d{{8}}T\d{{6}}Z")
"""The id of a schedule is a part of job ids, which are parts of paths, headers and message ids."""


GRACE_S = 60.0


MAX_S = 86_400
"""The longest grace and the longest jitter: a day."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Runs a job type again and again, at the times of a cron expression.

    >>> @job(schedule=Schedule("30 9 * * MON-FRI", timezone="Europe/Berlin"))

    Raises ValueError if the schedule is not valid; the message says why.
    """

    cron: str
    """The cron expression: five fields, or six with seconds in front."""
    timezone: str = "UTC"
    args: Mapping[str, Any] = field(default_factory=dict)
    misfire: Misfire = "skip"
    """What happens to times at which no worker was running: `skip` them, or run once for all of them."""
    grace_s: float = GRACE_S
    """A time counts as missed once this many seconds have passed."""
    jitter_s: float = 0
    """Each job is due up to this many seconds after its time, so that not all schedules of one time start at once."""
    queue: str | None = None
    """The queue of its jobs; None means the job type's queue."""
    id: str | None = None
    """The id of the schedule; None means the job type's name."""
    enforce: bool = False
    """If True, the schedule puts no job while its queue holds as many jobs as `QUEUE_LIMIT` allows."""

    def __post_init__(self) -> None:
        for name, check in (("cron", cron.check_expression), ("timezone", cron.check_timezone)):
            try:
                check(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name} {getattr(self, name)!r} {error}") from None
        if self.misfire not in get_args(Misfire):
            raise ValueError(f"misfire {self.misfire!r} is neither 'skip' nor 'run_once'")
        if not 0 <= self.grace_s <= MAX_S:
            raise ValueError(f"grace_s must be from 0 to {MAX_S} seconds")
        if not 0 <= self.jitter_s <= MAX_S:
            raise ValueError(f"jitter_s must be from 0 to {MAX_S} seconds")
        if self.id is not None and not SCHEDULE_ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is no id for a schedule: up to 64 letters, digits, '-' and '_'")

    def definition(self, type_name: str) -> bytes:
        """The schedule as Redis keeps it: the same bytes for the same schedule of the same job type."""
        fields = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "id"}
        if not self.enforce:
            # earlier versions do not know it
            del fields["enforce"]
        return codec.dumps({"type": type_name, **fields})

    @classmethod
    def from_definition(cls, definition: bytes) -> tuple[str, Self]:
        """The job type's name, and the schedule. Raises ValueError if this version cannot read it as one."""
        fields = codec.loads(definition)
        try:
            return fields.pop("type"), cls(**fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a schedule: {error}") from None

    def next_after(self, at_ms: int) -> int | None:
        """The first time of the schedule after `at_ms`, both in ms since the epoch; None if no time is left."""
        return cron.next_after(self.cron, self.timezone, at_ms)

    def following(self, at_ms: int, *, number: int) -> list[int]:
        """The next `number` times of the schedule after `at_ms`, in ms since the epoch."""
        return cron.following(self.cron, self.timezone, at_ms, number=number)

    def turn(self, *, due_ms: int, now_ms: int) -> Turn:
        """Decides what happens to the time `due_ms`, which has come.

        With `skip` a missed time does not run, nor do later times that were missed as well. With `run_once` the
        schedule runs now, once for all the times that have come meanwhile.
        """
        if now_ms - due_ms <= self.grace_s * 1000:
            return Turn(runs=True, missed=False, next_ms=self.next_after(due_ms))
        if self.misfire == "run_once":
            return Turn(runs=True, missed=True, next_ms=self.next_after(now_ms))
        # the next is the first that is not missed itself
        return Turn(runs=False, missed=True, next_ms=self.next_after(now_ms - int(self.grace_s * 1000) - 1))

    def job_due_ms(self, job_id: str, due_ms: int) -> int:
        """When the job for the time `due_ms` is due: later by a part of the jitter, always the same for one job id."""
        part = int.from_bytes(sha256(job_id.encode()).digest()[:4]) / 2**32
        return due_ms + int(part * self.jitter_s * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What becomes of a time of a schedule that has come."""

    runs: bool
    missed: bool
    next_ms: int | None
    """The schedule's next time, in ms since the epoch; None if there is none any more."""


def schedule_of(job_id: str) -> str | None:
    """The id of the schedule that this job belongs to; None if it belongs to none."""
    found = JOB_OF_SCHEDULE.fullmatch(job_id)
    return found and found[1]


def job_id_of(schedule_id: str, due_ms: int) -> str:
    """The id of the job for that time of the schedule: `nightly-20261121T030000Z`. Every worker makes the same."""
    return f"{schedule_id}-{datetime.fromtimestamp(due_ms / 1000, UTC):%Y%m%dT%H%M%SZ}"
