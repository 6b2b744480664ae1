"""A job that was put: its id, and what a caller may ask of it from then on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from errand.job.producing.producer import CancelAnswer, JobUpdate, Producer
from errand.wire.records import JobFailed, JobStatus

Result = TypeVar("Result")


def _as_it_is(result: Any) -> Any:
    return result


@dataclass(frozen=True, slots=True)
class JobHandle(Generic[Result]):
    """A job that Redis has accepted. With it you wait for the job's end, read its status, or cancel it.

    >>> job = await welcome_email.enqueue(to="ada@example.com", name="Ada")
    >>> receipt = await job.result(timeout_s=30)
    """

    producer: Producer
    id: str
    queue: str | None = None
    """The name of its queue. If it is None, the methods search for the job in all queues."""
    existing: bool = False
    """True if no job was put, because this one was there before: it has the same id, or the same unique key."""
    read: Callable[[Any], Any] = _as_it_is
    """Makes the job function's result from its JSON."""

    async def result(self, *, timeout_s: float | None = None) -> Result:
        """Waits for the end of the job, `timeout_s` seconds at most, and returns what its function returned.

        Raises JobFailed if the job failed or was cancelled (`cancelled` says which), TimeoutError if it has not ended
        by then, LookupError if Redis knows no job with this id (any more), QueueUnavailable if Redis is away.
        """
        end = await self.producer.end_of(self.id, queue=self.queue, timeout_s=timeout_s)
        if end.error is not None:
            raise JobFailed(end.error, cancelled=end.status == "cancelled")
        value: Result = self.read(end.result)
        return value

    async def status(self) -> JobStatus:
        """Returns the job's status now. Raises LookupError and QueueUnavailable, as `result` does."""
        return await self.producer.status(self.id, queue=self.queue)

    async def cancel(self) -> CancelAnswer:
        """Cancels the job, and returns what came of it.

        - `cancelled`: the job waited, and has ended.
        - `cancelling`: the job runs, and its worker will end it.
        - `ended`: the job had ended before, and nothing changes.

        Raises LookupError and QueueUnavailable, as `result` does.
        """
        return await self.producer.cancel(self.id, queue=self.queue)

    def events(self) -> AsyncIterator[JobUpdate]:
        """`async for event in job.events():` yields the status now, then each new status and progress, until the end.

        Raises LookupError and QueueUnavailable, as `result` does.
        """
        return self.producer.events(self.id, queue=self.queue)
