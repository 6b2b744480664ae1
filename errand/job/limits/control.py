"""What `@job` takes to control when the jobs of a type start: limits, a priority, and what becomes of equal ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict, Unpack

from pydantic import BaseModel

from errand.job.limits.key_template import KeyTemplate
from errand.job.limits.limit import Limit, limits_of
from errand.job.producing.options import Duration, JobOptions
from errand.job.producing.repeats import Repeats
from errand.wire.limits import check_priority


class StartOptions(TypedDict, total=False):
    """The options of `@job` that say when jobs start. A key is a template over the args, such as `"{customer_id}"`."""

    concurrency: int | None
    """How many jobs of the type run at once, in all workers together."""
    concurrency_key: str | None
    """The limit holds for each key. Keys take turns: many jobs of one key do not delay those of another."""
    rate: str | None
    """How many attempts start within a time, in all workers together: `"100/min"`."""
    rate_key: str | None
    """The rate holds for each key."""
    limits: Iterable[Limit]
    """More limits, `Concurrency` and `Rate`. A job starts if all of them allow it."""
    priority: int
    """From 0, the lowest, to 9. Of the jobs of a queue that are due, those with the highest priority start first.

    One start in ten goes to the job that has been due longest, whatever its priority, so that low ones go on, too.
    """
    debounce: Duration | None
    """A job runs once, when nobody has put an equal one for this long, with the args of the last."""
    debounce_key: str | None
    """Jobs with the same key are equal. Without a key, jobs are equal if all their args are."""
    throttle: Duration | None
    """Errand puts a job only if it has put no equal one within this time."""
    throttle_key: str | None
    """Which jobs are equal, as with `debounce_key`."""


@dataclass(frozen=True, slots=True)
class StartControl:
    """The same, read and checked."""

    limits: tuple[Limit, ...]
    priority: int
    repeats: Repeats | None

    @classmethod
    def of(cls, **given: Unpack[StartOptions]) -> StartControl:
        """Raises ValueError for an option out of range, or two that contradict each other, TypeError for others."""
        if unknown := given.keys() - StartOptions.__annotations__.keys():
            raise TypeError(f"@job does not know {', '.join(sorted(unknown))}")
        limits = limits_of(
            given.get("concurrency"),
            given.get("concurrency_key"),
            given.get("rate"),
            given.get("rate_key"),
            given.get("limits", ()),
        )
        repeats = JobOptions.of(
            debounce=given.get("debounce"),
            debounce_key=given.get("debounce_key"),
            throttle=given.get("throttle"),
            throttle_key=given.get("throttle_key"),
        ).repeats
        priority = given.get("priority", 0)
        check_priority(priority)
        return cls(limits, priority, repeats)

    def check(self, args_model: type[BaseModel], *, takes_file: bool) -> None:
        """Raises ValueError for a key that the args do not have, and for a debounce of a type that takes a file."""
        for each in (*self.limits, self.repeats):
            if each is not None and each.key is not None:
                KeyTemplate.of(each.key, args_model)
        if takes_file and self.repeats is not None and self.repeats.moves:
            raise ValueError("a type that takes a file has no debounce: throttle it")
