"""What can put jobs and answer for them: the way from a job type to Redis, and which one is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from errand.job.producing.options import JobOptions
from errand.wire.flow import Flow, PlannedJob
from errand.wire.records import Error, JobStatus, Progress

CancelAnswer = Literal["cancelled", "cancelling", "ended"]


class QueueUnavailable(ConnectionError):
    """Errand cannot reach Redis, so it put no job, or knows nothing of the job that you asked for. Try again later."""


@dataclass(frozen=True, slots=True)
class PutJob:
    """A job's id, and whether that job was there before."""

    id: str
    existing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnd:
    """How a job ended."""

    status: JobStatus
    result: Any = None
    error: Error | None = None
    """None if it has succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """A change of a job, as `JobHandle.events` yields it: a new status, or progress while the job runs."""

    status: JobStatus
    attempt: int
    """How many attempts have started."""
    progress: Progress | None = None


class Producer(Protocol):
    """Puts jobs, and says what becomes of them. Every call raises QueueUnavailable if Redis is away."""

    async def put(
        self, type_name: str, many_args: Sequence[Mapping[str, Any]], *, queue: str, options: JobOptions
    ) -> Sequence[PutJob]:
        """Puts a job for each of these args, all or none. Raises NotUnique."""

    async def put_steps(self, jobs: Sequence[tuple[PlannedJob, Flow]]) -> Sequence[PutJob]:
        """Puts these jobs, which belong together, in one call, all or none."""

    async def status(self, job_id: str, *, queue: str | None) -> JobStatus:
        """Raises LookupError for an unknown job."""

    async def end_of(self, job_id: str, *, queue: str | None, timeout_s: float | None) -> JobEnd:
        """Raises LookupError for an unknown job, TimeoutError."""

    async def cancel(self, job_id: str, *, queue: str | None) -> CancelAnswer:
        """Raises LookupError for an unknown job."""

    def events(self, job_id: str, *, queue: str | None) -> AsyncIterator[JobUpdate]:
        """Raises LookupError for an unknown job."""


_OPEN: list[tuple[asyncio.AbstractEventLoop, Producer]] = []
"""Those of this process, each with the event loop that it belongs to."""


@contextmanager
def offered(producer: Producer) -> Iterator[None]:
    """`enqueue` of every job type uses this producer for the block, in the loop that runs."""
    entry = (asyncio.get_running_loop(), producer)
    _OPEN.append(entry)
    try:
        yield
    finally:
        _OPEN.remove(entry)


def current() -> Producer:
    """The one that was opened last in this loop. Raises RuntimeError."""
    loop = asyncio.get_running_loop()
    for of_loop, producer in reversed(_OPEN):
        if of_loop is loop:
            return producer
    raise RuntimeError(
        "no connection to the queues is open here: `async with Client(Settings.read()):`, or jobs_lifespan for an app"
    )
