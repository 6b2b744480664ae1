"""Arq's worker, whose jobs run as recorded attempts and which does not die when Redis is away.

Claiming and the pace of the loop are Arq's own. What differs: leases are short and renewed, an outcome is written
together with the record of its attempt, and an outage of Redis is waited out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC
from datetime import timezone as TimeZone  # noqa: N812  # arq's parameter has its name
from functools import cached_property, partial
from typing import Any

import arq
import structlog
from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.constants import default_queue_name, expires_extra_ms
from arq.cron import CronJob
from arq.jobs import Deserializer, Serializer
from arq.typing import SecondsTimedelta, StartupShutdown, WorkerCoroutine
from arq.utils import timestamp_ms
from arq.worker import Function

from jobs.engine import attempt
from jobs.engine.job_type import Context, JobType, Opener
from jobs.engine.leases import Leases
from jobs.engine.ledger import Ledger, OutcomeTtl
from jobs.engine.outage import Outage
from jobs.engine.records import Attempt, Error, JobFailed, RunningAttempt

log = structlog.get_logger("errand.worker")

BACKSTOP_S = 10
"""Arq's own time limit stands this far behind the attempt's, which is the one that decides."""
CLOSE_LIMIT_S = 10
"""How long a stopping worker tries to write its last outcomes; what it cannot write runs again elsewhere."""


class Worker(arq.Worker):
    """Runs the jobs of one queue: Errand's job types and plain Arq functions alike.

    Beyond Arq's parameters: `job_types` to run, the `resources` lent to them, `lease_s` (how long a job stays
    claimed without a heartbeat), `result_ttl_s` and `dead_ttl_s` (how long ended jobs of those types are kept).
    """

    def __init__(
        self,
        functions: Sequence[Function | WorkerCoroutine] = (),
        *,
        job_types: Sequence[JobType[Any, Any]] = (),
        resources: Mapping[Opener[Any], Any] | None = None,
        lease_s: float = 10,
        result_ttl_s: float = 7 * 86_400,
        dead_ttl_s: float = 30 * 86_400,
        queue_name: str | None = default_queue_name,
        cron_jobs: Sequence[CronJob] | None = None,
        redis_settings: RedisSettings | None = None,
        redis_pool: ArqRedis | None = None,
        burst: bool = False,
        on_startup: StartupShutdown | None = None,
        on_shutdown: StartupShutdown | None = None,
        on_job_start: StartupShutdown | None = None,
        on_job_end: StartupShutdown | None = None,
        after_job_end: StartupShutdown | None = None,
        handle_signals: bool = True,
        job_completion_wait: int = 0,
        max_jobs: int = 10,
        job_timeout: SecondsTimedelta = 300,
        keep_result: SecondsTimedelta = 3600,
        keep_result_forever: bool = False,
        poll_delay: SecondsTimedelta = 0.5,
        queue_read_limit: int | None = None,
        max_tries: int = 5,
        health_check_interval: SecondsTimedelta = 3600,
        health_check_key: str | None = None,
        ctx: dict[Any, Any] | None = None,
        retry_jobs: bool = True,
        allow_abort_jobs: bool = False,
        max_burst_jobs: int = -1,
        job_serializer: Serializer | None = None,
        job_deserializer: Deserializer | None = None,
        expires_extra_ms: int = expires_extra_ms,
        timezone: TimeZone | None = None,
        log_results: bool = True,
    ) -> None:
        super().__init__(
            [*functions, *map(self._as_arq_function, job_types)],
            queue_name=queue_name,
            cron_jobs=cron_jobs,
            redis_settings=redis_settings,
            redis_pool=redis_pool,
            burst=burst,
            on_startup=on_startup,
            on_shutdown=on_shutdown,
            on_job_start=on_job_start,
            on_job_end=on_job_end,
            after_job_end=after_job_end,
            handle_signals=handle_signals,
            job_completion_wait=job_completion_wait,
            max_jobs=max_jobs,
            job_timeout=job_timeout,
            keep_result=keep_result,
            keep_result_forever=keep_result_forever,
            poll_delay=poll_delay,
            queue_read_limit=queue_read_limit,
            max_tries=max_tries,
            health_check_interval=health_check_interval,
            health_check_key=health_check_key,
            ctx=ctx,
            retry_jobs=retry_jobs,
            allow_abort_jobs=allow_abort_jobs,
            max_burst_jobs=max_burst_jobs,
            job_serializer=job_serializer,
            job_deserializer=job_deserializer,
            expires_extra_ms=expires_extra_ms,
            timezone=timezone,
            log_results=log_results,
        )
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        # arq's lease is its longest timeout: ours is short and renewed by heartbeats
        self.in_progress_timeout_s = lease_s
        self._lease_s = lease_s
        self._ttl = OutcomeTtl(ended_s=result_ttl_s, dead_s=dead_ttl_s)
        self._resources = resources or {}
        self._runs_job_types = bool(job_types)
        self._ended: dict[str, Attempt] = {}
        """Attempts that have ended and wait for arq's `finish_job` to be written, by job id."""
        self._outage = Outage()
        self._stopping = False

    # --- the life of the process

    @cached_property
    def _leases(self) -> Leases:
        return Leases(self.pool, worker=self.name, lease_s=self._lease_s)

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.pool, queue_name=self.queue_name, worker=self.name, ttl=self._ttl)

    async def main(self) -> None:
        """Arq's loop, with a heartbeat beside it."""
        if self._pool is None:
            self._pool = await self._connect()
        heartbeat = asyncio.create_task(self._beat())
        try:
            await super().main()
        finally:
            heartbeat.cancel()
            await asyncio.gather(heartbeat, return_exceptions=True)

    async def _connect(self) -> ArqRedis:
        """As arq does it where it is given no pool."""
        return await create_pool(
            self.redis_settings,
            job_deserializer=self.job_deserializer,
            job_serializer=self.job_serializer,
            default_queue_name=self.queue_name,
            expires_extra_ms=self.expires_extra_ms,
        )

    async def close(self) -> None:
        """Arq's close, which also writes the last outcomes; in Redis' absence it gives up on them after a while."""
        if not self._handle_signals:
            self.handle_sig(signal.SIGUSR1)
        if self._pool is None:
            return
        if self.main_task is not None:
            await asyncio.gather(self.main_task, return_exceptions=True)
        await self._finish_running()
        with contextlib.suppress(*Outage.ERRORS):
            await self._leases.leave()
            await self.pool.delete(self.health_check_key)
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self.pool.aclose(close_connection_pool=True)
        self._pool = None

    async def _finish_running(self) -> None:
        if not self.tasks:
            return
        _, unwritten = await asyncio.wait(self.tasks.values(), timeout=CLOSE_LIMIT_S)
        if unwritten:
            log.error("outcomes not written: redis is away; the jobs will run again", jobs=len(unwritten))

    async def _beat(self) -> None:
        """A heartbeat at once, then every third of a lease, for as long as the process lives."""
        while True:
            try:
                await self._leases.renew(self.tasks)
            except Outage.ERRORS as error:
                log.warning("heartbeat missed", error=str(error))
            await asyncio.sleep(self._leases.interval_s)

    def handle_sig(self, signum: signal.Signals) -> None:
        self._stopping = True
        super().handle_sig(signum)

    async def _wait_for_tasks_to_complete(self, signum: signal.Signals) -> None:
        await super()._wait_for_tasks_to_complete(signum)
        self._stopping = True

    async def _poll_iteration(self) -> None:
        """One round of arq's loop; while Redis is away, a wait instead of the worker's end."""
        if self._stopping:
            # asyncio.wait_for in Python 3.11, inside redis-py, can swallow the cancellation that stops the loop
            raise asyncio.CancelledError
        try:
            await super()._poll_iteration()
        except Exception as error:  # noqa: BLE001  # sorted by wait_out, which raises what is no outage
            await self._outage.wait_out(error)
        else:
            self._outage.note_end()

    # --- one job

    def _as_arq_function(self, job_type: JobType[Any, Any]) -> Function:
        return arq.func(
            partial(self._attempt, job_type),  # type: ignore[arg-type]  # the name is given, arq needs no __qualname__
            name=job_type.name,
            timeout=job_type.timeout_s + BACKSTOP_S,
            max_tries=job_type.max_tries,
        )

    async def _attempt(self, job_type: JobType[Any, Any], ctx: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """One attempt, as a coroutine that arq runs: returns the result, or raises what arq makes the outcome of."""
        job_id: str = ctx["job_id"]
        begun = RunningAttempt(
            number=ctx["job_try"], due_at_ms=ctx["score"], started_at_ms=timestamp_ms(), worker=self.name
        )
        await self._outage.outlast(partial(self._ledger.begin, job_id, begun))
        try:
            outcome = await attempt.run(job_type, self._context(job_type, ctx), _keywords(args, kwargs))
        except asyncio.CancelledError:
            self._ended[job_id] = self._cut_short(job_id, begun)
            _log_attempt(job_type, job_id, self._ended[job_id])
            raise
        self._ended[job_id] = outcome.end_of(begun, ended_at_ms=timestamp_ms())
        _log_attempt(job_type, job_id, self._ended[job_id])
        return _hand_to_arq(outcome)

    def _context(self, job_type: JobType[Any, Any], ctx: dict[str, Any]) -> Context:
        return Context(
            job_id=ctx["job_id"],
            attempt=ctx["job_try"],
            max_tries=job_type.max_tries,
            enqueued_at=ctx["enqueue_time"].astimezone(UTC),
            resources=self._resources,
            report=partial(self._ledger.report, ctx["job_id"]),
        )

    def _cut_short(self, job_id: str, begun: RunningAttempt) -> Attempt:
        """The end of an attempt that was cancelled from outside: by arq's abort, or by a drain that hands it back."""
        now_ms = timestamp_ms()
        if job_id in self.aborting_tasks:
            return Attempt.end(begun, "cancelled", at_ms=now_ms, error=Error("Cancel", "aborted while it ran"))
        return Attempt.end(begun, "handed_back", at_ms=now_ms, next_attempt_at_ms=now_ms)

    async def finish_job(
        self,
        job_id: str,
        finish: bool,
        result_data: bytes | None,
        result_timeout_s: float | None,
        keep_result_forever: bool,
        incr_score: int | None,
        keep_in_progress: float | None,
    ) -> None:
        """Arq's finish; a job type's outcome goes to the ledger, and waits for Redis where it must."""
        ended = self._ended.pop(job_id, None)
        if ended is None:
            await super().finish_job(
                job_id, finish, result_data, result_timeout_s, keep_result_forever, incr_score, keep_in_progress
            )
        elif finish:
            await self._outage.outlast(partial(self._ledger.end, job_id, ended, result_data))
        else:
            await self._outage.outlast(partial(self._ledger.next_try, job_id, ended))

    async def finish_failed_job(self, job_id: str, result_data: bytes | None) -> None:
        """Arq's end for a job that it does not start: unknown, unreadable, or out of tries after lost attempts."""
        if self._runs_job_types:
            await self._outage.outlast(partial(self._ledger.end_unstarted, job_id, result_data))
        else:
            await super().finish_failed_job(job_id, result_data)


def _keywords(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """A job's args by name. A stock producer may pass them as one positional mapping; nothing else has names."""
    match args:
        case ():
            return kwargs
        case (Mapping() as only,) if not kwargs:
            return only
        case _:
            return {**kwargs, "positional arguments": list(args)}


def _hand_to_arq(outcome: attempt.Outcome) -> Any:
    """Arq's `run_job` reads an outcome from what its coroutine returns or raises."""
    if outcome.status == "succeeded":
        return outcome.result
    if outcome.status == "retry":
        raise arq.Retry(defer=outcome.retry_after_s)
    raise JobFailed(outcome.error or Error("Error", "unknown"), cancelled=outcome.status == "cancelled")


def _log_attempt(job_type: JobType[Any, Any], job_id: str, ended: Attempt) -> None:
    """The one line an attempt leaves in the log."""
    line = log.bind(job_id=job_id, type=job_type.name, attempt=ended.number, outcome=ended.outcome)
    line = line.bind(duration_s=(ended.ended_at_ms - ended.started_at_ms) / 1000)
    if ended.next_attempt_at_ms is not None:
        line = line.bind(retry_in_s=(ended.next_attempt_at_ms - ended.ended_at_ms) / 1000)
    if ended.error is not None:
        line = line.bind(error=f"{ended.error.type}: {ended.error.message}")
    (line.error if ended.outcome == "failed" else line.info)("attempt")
