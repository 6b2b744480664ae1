"""Writes what becomes of a job: each attempt's record in one transaction with the job's next state."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import structlog
from arq.connections import ArqRedis
from arq.utils import timestamp_ms
from redis.asyncio.client import Pipeline

from jobs.engine import keys, records
from jobs.engine.outage import Outage
from jobs.engine.records import Attempt, Error, Progress, RunningAttempt

log = structlog.get_logger("errand.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeTtl:
    """How long an ended job is kept, in seconds: `dead_s` where it failed, `ended_s` otherwise."""

    ended_s: float
    dead_s: float

    def of(self, attempt: Attempt) -> int:
        """In milliseconds."""
        return int(1000 * (self.dead_s if attempt.outcome == "failed" else self.ended_s))


class Ledger:
    """The records of the jobs that one worker runs."""

    def __init__(self, redis: ArqRedis, *, queue_name: str, worker: str, ttl: OutcomeTtl) -> None:
        self._redis = redis
        self._queue_name = queue_name
        self._worker = worker
        self._ttl = ttl

    async def begin(self, job_id: str, begun: RunningAttempt) -> None:
        """Notes a started attempt; one noted before that never ended died with its worker and is recorded as lost."""
        left = await self._redis.set(keys.running(job_id), records.dumps(begun), get=True)
        if left is not None:
            await self._record_lost(job_id, RunningAttempt(**records.loads(left)))

    async def _record_lost(self, job_id: str, left: RunningAttempt) -> None:
        if left.worker == self._worker:
            return  # our own note, repeated after an outage cut off the answer
        log.warning("attempt lost", job_id=job_id, attempt=left.number, worker=left.worker)
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.rpush(keys.attempts(job_id), records.dumps(_lost(left)))
            await pipeline.execute()

    async def report(self, job_id: str, fraction: float, note: str) -> None:
        """Shows a job's progress; missed while Redis is away: it is news, not an outcome."""
        progress = Progress(fraction=fraction, note=records.clean(note[:200]), at_ms=timestamp_ms())
        with contextlib.suppress(*Outage.ERRORS):
            await self._redis.set(keys.progress(job_id), records.dumps(progress), px=int(self._ttl.dead_s * 1000))

    async def end(self, job_id: str, ended: Attempt, result: bytes | None) -> None:
        """The job's last attempt and its result, in Arq's format."""
        keep_ms = self._ttl.of(ended)
        async with self._redis.pipeline(transaction=True) as transaction:
            _write_attempt(transaction, job_id, ended)
            self._write_result(transaction, job_id, result, keep_ms)
            await transaction.execute()

    async def next_try(self, job_id: str, ended: Attempt) -> None:
        """An attempt after which another follows; one that was handed back does not count as a try."""
        async with self._redis.pipeline(transaction=True) as transaction:
            _write_attempt(transaction, job_id, ended)
            transaction.zadd(self._queue_name, {job_id: ended.next_attempt_at_ms or ended.ended_at_ms}, xx=True)
            # arq lets both expire after a day: a retry may be due later than that
            transaction.persist(keys.body(job_id))
            transaction.persist(keys.tries(job_id))
            if ended.outcome == "handed_back":
                transaction.decr(keys.tries(job_id))
            await transaction.execute()

    async def end_unstarted(self, job_id: str, result: bytes | None) -> None:
        """A job that ends without a further attempt; one begun before and never ended is recorded as lost."""
        left = await self._redis.get(keys.running(job_id))
        async with self._redis.pipeline(transaction=True) as transaction:
            if left is not None:
                _write_attempt(transaction, job_id, _lost(RunningAttempt(**records.loads(left))))
            transaction.delete(keys.in_progress(job_id))
            self._write_result(transaction, job_id, result, int(self._ttl.dead_s * 1000))
            await transaction.execute()

    def _write_result(self, transaction: Pipeline, job_id: str, result: bytes | None, keep_ms: int) -> None:
        if result is not None:
            transaction.set(keys.result(job_id), result, px=keep_ms)
        transaction.pexpire(keys.attempts(job_id), keep_ms)
        transaction.pexpire(keys.progress(job_id), keep_ms)
        transaction.delete(keys.body(job_id), keys.tries(job_id))
        transaction.zrem(self._queue_name, job_id)
        transaction.zrem(keys.ABORT, job_id)
        transaction.publish(keys.ended_channel(job_id), "ended")


def _write_attempt(transaction: Pipeline, job_id: str, ended: Attempt) -> None:
    transaction.rpush(keys.attempts(job_id), records.dumps(ended))
    transaction.delete(keys.running(job_id), keys.in_progress(job_id))


def _lost(left: RunningAttempt) -> Attempt:
    error = Error("WorkerLost", "the worker ended before the attempt did")
    return Attempt.end(left, "lost", at_ms=timestamp_ms(), error=error)
