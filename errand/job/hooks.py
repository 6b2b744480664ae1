"""Hooks: what runs around the attempts of jobs, and after a job has died, for logs, traces and tenants.

They are declared in modules of `JOB_PACKAGES`, where `catalog.py` finds them beside the job types;
`errand.worker.hooks` calls them.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, overload

from errand.job.context import Context
from errand.job.job_type import JobType
from errand.wire.records import AttemptOutcome, Error

END_LIMIT_S = 2.0
"""How long a hook may take after its attempt: a worker that is stopped at once waits four seconds for its attempts."""


DEAD_LIMIT_S = 5.0
"""How long a hook of a dead job may take: half of the time that a worker has to close."""


@dataclass(slots=True, kw_only=True)
class SeenAttempt:
    """What a hook of `@on_attempt()` gets: one attempt. `outcome` and `error` are set when the attempt has ended."""

    type: str
    queue: str
    ctx: Context
    """The context of the job function: job_id, attempt, max_tries, enqueued_at."""
    args: Any
    """The args of the job, as an instance of its type's model."""
    due_at: datetime
    """When the attempt was due, UTC."""
    outcome: AttemptOutcome | None = None
    """`succeeded`, `failed`, `cancelled`, `retry`, or `handed_back` (the worker stops, or the job raised `Snooze`)."""
    error: Error | None = None
    """Why the attempt did not succeed: type, message and traceback, without secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadJob:
    """What a hook of `@on_dead()` gets: a job that has failed for good."""

    job_id: str
    type: str
    queue: str
    args: Mapping[str, Any]
    """The args as the queue keeps them, with stars instead of secrets."""
    attempt: int
    """The number of the last attempt."""
    enqueued_at: datetime
    error: Error


Around = Callable[[SeenAttempt], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class AttemptHook:
    """What `@on_attempt()` makes. Calling it gives the context manager, as a test does."""

    around: Around
    types: frozenset[str]
    """The names of the job types that it is for; empty: all."""
    end_limit_s: float

    def __call__(self, attempt: SeenAttempt) -> AbstractAsyncContextManager[Any]:
        """The context manager that an attempt is made in."""
        return self.around(attempt)

    @property
    def name(self) -> str:
        return name_of(self.around)


@dataclass(frozen=True, slots=True, eq=False)
class DeadHook:
    """What `@on_dead()` makes. Calling it calls the function, as a test does."""

    function: Callable[[DeadJob], Awaitable[None]]
    types: frozenset[str]
    """The names of the job types that it is for; empty: all."""
    limit_s: float

    def __call__(self, job: DeadJob) -> Awaitable[None]:
        """Calls the function."""
        return self.function(job)

    @property
    def name(self) -> str:
        return name_of(self.function)


Hook = AttemptHook | DeadHook


AnyHook = TypeVar("AnyHook", AttemptHook, DeadHook)


class MakesAttemptHook:
    """What `@on_attempt(…)` returns."""

    def __init__(self, types: frozenset[str], end_limit_s: float) -> None:
        self._types = types
        self._end_limit_s = end_limit_s

    @overload
    def __call__(self, around: Callable[[SeenAttempt], AsyncIterator[None]], /) -> AttemptHook: ...

    @overload
    def __call__(self, around: Around, /) -> AttemptHook: ...

    def __call__(self, around: Callable[[SeenAttempt], Any], /) -> AttemptHook:
        if inspect.isasyncgenfunction(around):
            around = asynccontextmanager(around)
        elif inspect.iscoroutinefunction(around) or inspect.isgeneratorfunction(around):
            raise TypeError(f"{name_of(around)}: a hook of attempts is an `async def` with one `yield` in it")
        return AttemptHook(around, self._types, self._end_limit_s)


def on_attempt(*job_types: JobType[Any, Any], end_limit_s: float = END_LIMIT_S) -> MakesAttemptHook:
    """Makes an `async def` with one `yield` a hook around each attempt at a job of these types, or of all types.

    >>> @on_attempt()
    ... async def logged(attempt: SeenAttempt) -> AsyncIterator[None]:
    ...     with bound_contextvars(job_id=attempt.ctx.job_id):
    ...         yield
    ...     log.info("ended", outcome=attempt.outcome)

    The code before the `yield` runs within the time limit of the attempt. If it raises, it ends the attempt, just as
    the job function can. If the job function raises, the `yield` raises the same exception. The code behind the
    `yield` runs when the outcome is known, for `end_limit_s` seconds at most. It cannot change the outcome, and the
    worker logs an error in it. A function that returns an async context manager works as well.

    Raises TypeError for a function of another shape, ValueError for a limit that is not above 0.
    """
    return MakesAttemptHook(_names_of("on_attempt", job_types, end_limit_s), end_limit_s)


def on_dead(
    *job_types: JobType[Any, Any], limit_s: float = DEAD_LIMIT_S
) -> Callable[[Callable[[DeadJob], Awaitable[None]]], DeadHook]:
    """Makes an `async def` a hook that the worker calls when a job of these types, or of any type, has failed for good.

    >>> @on_dead()
    ... async def alert(job: DeadJob) -> None:
    ...     await chat.send(f"{job.type} {job.job_id} failed: {job.error.message}")

    It runs in the worker, beside other jobs, for `limit_s` seconds at most. The worker logs an error in it. If the
    worker dies before the hook has ended, another worker calls the hook again: each hook is called at least once.

    Raises TypeError for a function of another shape, ValueError for a limit that is not above 0.
    """
    types = _names_of("on_dead", job_types, limit_s)

    def describe(function: Callable[[DeadJob], Awaitable[None]]) -> DeadHook:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{name_of(function)}: a hook of dead jobs is an `async def`")
        return DeadHook(function, types, limit_s)

    return describe


def of_type(hooks: Iterable[AnyHook], type_name: str) -> list[AnyHook]:
    """The hooks for jobs of that type, in the order in which they run: those for all types first."""
    seen = [hook for hook in hooks if not hook.types or type_name in hook.types]
    return sorted(seen, key=lambda hook: bool(hook.types))


def name_of(function: Callable[..., Any]) -> str:
    """The name by which a message names a function, or another thing that is called."""
    return str(getattr(function, "__qualname__", repr(function)))


def _names_of(decorator: str, job_types: Iterable[Any], limit_s: float) -> frozenset[str]:
    if limit_s <= 0:
        raise ValueError(f"@{decorator} needs a limit above 0 s")
    names = {job_type.name for job_type in job_types if isinstance(job_type, JobType)}
    if len(names) < len(set(job_types)):
        raise TypeError(f"write @{decorator}(), or @{decorator}(…) with the job types that it is for")
    return frozenset(names)
