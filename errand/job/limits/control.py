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
    """By name. A key is a template over the fields of the args, such as `"{customer_id}"`."""

    concurrency: int | None
    """How many jobs of the type run at once, in all workers together."""
    concurrency_key: str | None
    """So many of each key. Keys take turns: many jobs of one do not delay those of another."""
    rate: str | None
    """How many attempts start within a time, in all workers together: `"100/min"`."""
    rate_key: str | None
    """So many of each key."""
    limits: Iterable[Limit]
    """More limits, `Concurrency` and `Rate`; a job starts if all of them let it."""
    priority: int
    """From 0, the lowest, to 9. Of the jobs of a queue that are due, those of the highest priority start first.

    One start in ten is that of the job that has been due longest, whatever its priority, so that the lowest go on too.
    """
    debounce: Duration | None
    """A job runs when no equal one has been put for so long, once, with the args of the last."""
    debounce_key: str | None
    """Jobs of one key are equal; without it those whose args all are."""
    throttle: Duration | None
    """A job is put only if no equal one was within this time."""
    throttle_key: str | None
    """As `debounce_key`."""


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
