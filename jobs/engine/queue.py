"""The producer's side of a queue: enqueue a job, cancel one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from arq.connections import ArqRedis
from arq.constants import default_queue_name
from arq.jobs import deserialize_job, serialize_job, serialize_result
from arq.utils import timestamp_ms, to_unix_ms

from jobs.engine import keys, records, script
from jobs.engine.job_id import new_job_id

DEFERRED = 2
"""The script's word for a job that was put, to be due later."""

CancelAnswer = Literal["cancelled", "in_progress", "ended", "unknown"]


class JobExists(Exception):
    """A job of that id is queued, running, or still remembered."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A job that Redis has. Times are ms since the epoch."""

    job_id: str
    enqueued_at_ms: int
    due_at_ms: int
    deferred: bool
    """Not due at once."""


class Queue:
    """One queue of jobs, in Arq's format."""

    def __init__(self, redis: ArqRedis, *, name: str = default_queue_name, ended_ttl_s: float) -> None:
        self.name = name
        self._redis = redis
        self._ended_ttl_s = ended_ttl_s
        self._enqueue = script.load(redis, "enqueue")
        self._cancel = script.load(redis, "cancel")

    async def enqueue(
        self,
        type_name: str,
        args: Mapping[str, Any],
        *,
        job_id: str | None = None,
        delay_ms: int = 0,
        run_at_ms: int | None = None,
    ) -> Enqueued:
        """Puts a job of that type; `args` are its keyword arguments, JSON values only.

        It is due `delay_ms` from now by Redis' clock, or at `run_at_ms` (ms since the epoch), at once where that
        has passed. Raises JobExists, and redis' errors where Redis is away.
        """
        job_id = job_id or new_job_id()
        enqueued_at_ms = timestamp_ms()
        body = serialize_job(type_name, (), dict(args), None, enqueued_at_ms, serializer=records.dumps)
        put, due_at_ms = await self._enqueue(
            keys=[keys.body(job_id), keys.result(job_id), self.name],
            args=[job_id, body, delay_ms, "" if run_at_ms is None else run_at_ms],
        )
        if not put:
            raise JobExists(job_id)
        return Enqueued(job_id=job_id, enqueued_at_ms=enqueued_at_ms, due_at_ms=due_at_ms, deferred=put == DEFERRED)

    async def cancel(self, job_id: str) -> CancelAnswer:
        """Ends a job that has not started (deferred, queued, or waiting for its next try) as `cancelled`."""
        answer: bytes = await self._cancel(
            keys=[
                keys.body(job_id),
                keys.result(job_id),
                self.name,
                keys.in_progress(job_id),
                keys.tries(job_id),
                keys.attempts(job_id),
            ],
            args=[
                job_id,
                await self._cancelled_outcome(job_id),
                int(self._ended_ttl_s * 1000),
                keys.ended_channel(job_id),
            ],
        )
        return answer.decode()  # type: ignore[return-value]  # the script's four words

    async def _cancelled_outcome(self, job_id: str) -> bytes:
        """The result record of a cancelled job; empty for an unknown one, which the script will not use."""
        body, tries = await self._redis.mget(keys.body(job_id), keys.tries(job_id))
        if body is None:
            return b""
        job = deserialize_job(body, deserializer=records.loads)
        now_ms = timestamp_ms()
        error = records.Error(type="Cancel", message="cancelled before it started")
        outcome = serialize_result(
            job.function,
            job.args,
            job.kwargs,
            int(tries or 0),
            to_unix_ms(job.enqueue_time),
            False,
            records.JobCancelled(error),
            now_ms,
            now_ms,
            ref=job_id,
            queue_name=self.name,
            job_id=job_id,
            serializer=records.dumps,
        )
        return outcome or b""
