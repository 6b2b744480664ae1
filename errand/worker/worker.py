"""Arq's worker on an engine of its own: claims and finishes in groups, is woken, and waits out an absent Redis.

The constructor, the hooks and what plain functions see are Arq's. A round of the loop claims as many due jobs as there
are free slots, in one call; each runs as a task; outcomes are handed to the finisher, which frees the slot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack

import arq
import structlog
from arq.connections import ArqRedis, create_pool, log_redis_info
from arq.typing import WorkerCoroutine
from arq.worker import Function
from redis.exceptions import RedisError, ResponseError

from errand.job.context import Opener
from errand.job.control import MAX_CRASHES
from errand.job.job_type import JobType
from errand.leases.claiming import Claiming
from errand.leases.finisher import Finisher
from errand.leases.heartbeat import Heartbeat
from errand.leases.leases import Claimed, Finish, Leases
from errand.leases.wakeups import Wakeups
from errand.redis.outage import Outage, is_outage, missed, within
from errand.version import VERSION
from errand.wire.counters import Counters
from errand.wire.worker_report import WorkerReport
from errand.worker.aborts import Aborts
from errand.worker.admission import Admission
from errand.worker.arq_options import ArqOptions, signature_with_arqs
from errand.worker.attempt_log import AttemptLog
from errand.worker.cancel_calls import CancelCalls
from errand.worker.crashes import Suspects
from errand.worker.effects import Effects
from errand.worker.executor import Executor
from errand.worker.job_runner import JobRunner, OutcomeTtl
from errand.worker.loop_lag import LoopLag

log = structlog.get_logger("errand.worker")


arq_log = logging.getLogger("arq.worker")


CLAIMS_IN_STEP = 2
"""A claim fills this part of the slots: while its jobs run the next one is on its way, and neither side waits."""


UNWRITTEN_FACTOR = 2
"""Outcomes on their way to Redis do not hold a slot, up to this many slots' worth of jobs in all."""


CRON_LOOK_S = 0.5
"""Arq looks at its cron jobs this often, and plans them no further ahead."""


REFUSED_PAUSE_S = 1.0


CLOSE_LIMIT_S = 10
"""How long closing may take in all: what cannot be written to Redis by then runs again elsewhere."""


LEAVE_S = 1.0
"""Kept of it for what the worker says of itself at the end."""


class Worker(arq.Worker):
    """Runs the jobs of one queue: Errand's job types and plain Arq functions alike.

    Beyond Arq's parameters: `job_types` to run, the `resources` that they use, `lease_s` (how long a job stays
    claimed without a heartbeat), `result_ttl_s` and `dead_ttl_s` (how long ended jobs of those types are kept),
    `max_crashes` (how many attempts of one job may end their process), `suspects` (shared by the workers of a process).
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
        max_crashes: int = MAX_CRASHES,
        suspects: Suspects | None = None,
        attempt_log: AttemptLog | None = None,
        **options: Unpack[ArqOptions],
    ) -> None:
        super().__init__([*functions, *map(_as_arq_function, job_types)], **options)
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._job_types = {job_type.name: job_type for job_type in job_types}
        self._resources = resources or {}
        self._ttl = OutcomeTtl(ended_s=result_ttl_s, dead_s=dead_ttl_s)
        self._max_crashes = max_crashes
        self._suspects = suspects or Suspects()
        self._attempt_log = attempt_log or AttemptLog()
        self._lease_s = lease_s
        self._outage = Outage()
        self._counters = Counters()
        self._lag = LoopLag()
        self._aborts = Aborts()
        self._stopping = False
        if self._pool is not None:
            self._build()

    __signature__ = signature_with_arqs(__init__)

    # --- its parts

    def _build(self) -> None:
        """Everything that needs the connection, from the ground up."""
        queue, redis = self.queue_name, self.pool
        self._leases = Leases(
            redis, queue=queue, worker=self.name, lease_s=self._lease_s, visible=bool(self._job_types)
        )
        self._finisher = Finisher(self._leases, self._outage, done=self._release)
        self._claiming = Claiming(self._leases, self._finisher)
        self._wakeups = Wakeups(redis, queue=queue, worker=self.name, leases=self._leases, take=self._take)
        self._cancel_calls = CancelCalls(redis, queue=queue, heard=self._cancel)
        self._heartbeat = Heartbeat(
            self._leases,
            self._outage,
            counters=self._counters,
            report=self._report,
            stop=self._stop,
            cancel=self._cancel,
        )
        runner = JobRunner(
            leases=self._leases,
            queue=queue,
            worker=self.name,
            resources=self._resources,
            ttl=self._ttl,
            attempt_log=self._attempt_log,
            counters=self._counters,
            max_crashes=self._max_crashes,
            effects=Effects(redis, queue=queue, outage=self._outage),
        )
        admission = Admission(
            self,
            job_types=self._job_types,
            runs=runner,
            aborts=self._aborts,
            suspects=self._suspects,
            max_crashes=self._max_crashes,
        )
        self._executor = Executor(
            self,
            job_types=self._job_types,
            held=self._heartbeat,
            admission=admission,
            runs=runner,
            finisher=self._finisher,
            wakeups=self._wakeups,
            aborts=self._aborts,
        )

    # --- the life of the process

    async def main(self) -> None:
        """Starts as arq does, then claims and runs jobs until it is cancelled or, in a burst, the queue is empty."""
        if self._pool is None:
            self._pool = await self._connect()
            self._build()
        arq_log.info("Starting worker for %d functions: %s", len(self.functions), ", ".join(self.functions))
        with contextlib.suppress(RedisError):  # away since a moment ago, or INFO is not for us
            await log_redis_info(self.pool, arq_log.info)
        self.ctx["redis"] = self.pool
        if self.on_startup:
            await self.on_startup(self.ctx)
        self._lag.start()
        self._heartbeat.start()
        await self._cancel_calls.listen()
        try:
            await self._serve()
        finally:
            await self._cancel_calls.close()

    async def close(self) -> None:
        """Arq's close, which also writes the last outcomes; in Redis' absence it gives up on them after a while."""
        if not self._handle_signals:
            self.handle_sig(signal.SIGUSR1)
        if self._pool is None:
            return
        until_s = time.monotonic() + CLOSE_LIMIT_S - LEAVE_S
        if self.main_task is not None:
            await asyncio.wait({self.main_task}, timeout=_left_s(until_s))
        await self._wakeups.close()
        await self._finish_running(until_s)
        self._lag.stop()
        await self._heartbeat.stop_beating()
        with missed():
            await within(_left_s(until_s) + LEAVE_S, self._leave())
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self.pool.aclose(close_connection_pool=True)
        self._pool = None

    def handle_sig(self, signum: signal.Signals) -> None:
        self._stopping = True
        if self._pool is not None:
            self._wakeups.stop()
            self._executor.hand_back_unstarted()
        super().handle_sig(signum)

    def handle_sig_wait_for_completion(self, signum: signal.Signals) -> None:
        if self._pool is not None:
            # from now on a token is for others
            self._wakeups.stop()
        super().handle_sig_wait_for_completion(signum)

    async def _wait_for_tasks_to_complete(self, signum: signal.Signals) -> None:
        await super()._wait_for_tasks_to_complete(signum)
        self._stopping = True

    async def _connect(self) -> ArqRedis:
        """As arq does it where it is given no pool."""
        return await create_pool(
            self.redis_settings,
            job_deserializer=self.job_deserializer,
            job_serializer=self.job_serializer,
            default_queue_name=self.queue_name,
            expires_extra_ms=self.expires_extra_ms,
        )

    async def _leave(self) -> None:
        await self._leases.renew({}, self._counters.take())
        await self._leases.leave()
        await self.pool.delete(self.health_check_key)

    async def _finish_running(self, until_s: float) -> None:
        await self._claiming.hand_back_under_way()
        if self.tasks:
            # the other half is for writing what became of them
            await asyncio.wait(self.tasks.values(), timeout=_left_s(until_s) / 2)
        unwritten = await self._finisher.drain(_left_s(until_s))
        if unwritten:
            log.error("outcomes not written: redis is away; the jobs will run again", jobs=unwritten)

    def _report(self) -> WorkerReport:
        """What this worker says of itself; while it drains it has no slots but those that are taken."""
        draining = self._stopping or not self.allow_pick_jobs
        return WorkerReport(
            version=VERSION,
            slots=len(self.tasks) if draining else self.max_jobs,
            types=tuple(sorted(self.functions)),
            loop_lag_ms=self._lag.take_ms(),
            draining=draining,
        )

    # --- the loop

    async def _serve(self) -> None:
        while True:
            try:
                await self._poll_iteration()
                if self.burst and await self._burst_is_over():
                    return
                self._outage.note_end()
            except (ResponseError, ValueError, OverflowError) as error:
                # a member of the queue that cannot be claimed: parked by its lease
                if is_outage(error):
                    await self._outage.wait_out(error)
                else:
                    log.exception("a claim was refused")
                    await asyncio.sleep(REFUSED_PAUSE_S)
            except Exception as error:  # noqa: BLE001  # sorted by wait_out, which raises what is no outage
                await self._outage.wait_out(error)
            else:
                await self._rest()

    async def _poll_iteration(self) -> None:
        """Claims what is due and there is room for, and starts it."""
        if self._stopping:
            # asyncio.wait_for in Python 3.11, inside redis-py, can swallow the cancellation that stops the loop
            raise asyncio.CancelledError
        if self._heartbeat.are_doubtful:
            # our jobs are due again, and must not be claimed as if they were lost;
            # nothing is claimed before this has succeeded
            await self._heartbeat.renew()
        if self.allow_abort_jobs:
            await self._executor.look_for_aborts()
        most = self._claimable(self._free_slots())
        if self._claiming.is_under_way or (self.allow_pick_jobs and most > 0):
            await self._claim(most)
        await self.heart_beat()

    def _claimable(self, free_slots: int) -> int:
        """How many jobs to ask for in one claim."""
        most = min(free_slots, self.queue_read_limit, math.ceil(self.max_jobs / CLAIMS_IN_STEP))
        if self.burst and self.max_burst_jobs >= 0:
            most = min(most, self.max_burst_jobs - self._jobs_started())
        return most

    async def _claim(self, most: int) -> None:
        """Starts what a claim brings: of the one under way, or of a new one."""
        claimed, asked = await self._claiming.answer(most)
        if not self.allow_pick_jobs:
            self._claiming.hand_back(claimed)
            return
        self._claiming.note_what_is_left(claimed, asked)
        next_most = self._claimable(self._free_slots() - len(claimed.claims))
        if self._claiming.more_is_due and next_most > 0 and not self.burst:
            # asked before these are started: Redis answers while they run
            self._claiming.ask(next_most)
        self._executor.start(claimed)

    def _take(self, claimed: Claimed, asked: int) -> None:
        """What Redis claimed for us in the moment of a wake-up."""
        if self._stopping or not self.allow_pick_jobs:
            self._claiming.hand_back(claimed)
            return
        self._claiming.note_what_is_left(claimed, asked)
        self._executor.start(claimed)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Claims and starts up to that many due jobs; which ones, the claim decides."""
        if (most := min(self._free_slots(), len(job_ids))) > 0:
            self._executor.start(await self._leases.claim(most))

    async def _burst_is_over(self) -> bool:
        """The queue is empty, or as many jobs have been started as the burst allows."""
        if 0 <= self.max_burst_jobs <= self._jobs_started():
            await asyncio.gather(*self.tasks.values())
            await self._finisher.drain(CLOSE_LIMIT_S)
            return True
        return not await self.pool.zcard(self.queue_name)

    async def _rest(self) -> None:
        """Until there is something to do: room for jobs that are due, a wake-up, the next due time, or a poll."""
        if not self._free_slots() or not self.allow_pick_jobs:
            if self._claiming.more_is_due:
                self._wakeups.ring()
            await self._wakeups.wait_for_room(self.poll_delay_s)
        elif self.burst or self._claiming.more_is_due:
            await asyncio.sleep(0 if self._claiming.more_is_due else self.poll_delay_s)
        else:
            await self._sleep()

    async def _sleep(self) -> None:
        """Until the queue is to be looked at; jobs that a wake-up brings with it start meanwhile."""
        until_s = time.monotonic() + self.poll_delay_s
        while not await self._wakeups.wait(min(self._idle_s(), until_s - time.monotonic()), reserve=self._reserve()):
            if not self.tasks:
                # the claim behind a wake-up that came to nothing was a look as well
                until_s = time.monotonic() + self.poll_delay_s
            if self._claiming.more_is_due or not self._free_slots() or time.monotonic() >= until_s:
                return

    def _reserve(self) -> int:
        """How many slots to keep for the claim behind a wake-up: half, so that polls find some too."""
        return self._claimable(self._free_slots() // 2)

    def _idle_s(self) -> float:
        limits_s = [self.poll_delay_s, self._claiming.next_due_in_s]
        if self.cron_jobs:
            limits_s.append(CRON_LOOK_S)
        return max(min(limits_s), 0.0)

    def _free_slots(self) -> int:
        free = min(self.max_jobs - len(self.tasks), UNWRITTEN_FACTOR * self.max_jobs - len(self._heartbeat))
        return free - self._wakeups.reserved

    # --- what happens to a job

    def _cancel(self, job_ids: Iterable[str]) -> None:
        self._executor.cancel(job_ids)

    def _stop(self, job_id: str) -> bool:
        return self._executor.stop(job_id)

    def _release(self, outcomes: Sequence[Finish], written: Sequence[bool]) -> None:
        """The outcomes are in Redis, or were dropped because the lease had become another's."""
        for outcome in outcomes:
            self._heartbeat.let_go(outcome.job_id, outcome.token)
            if outcome.due_in_ms is not None and self._claiming.note_due_again(outcome.due_in_ms):
                self._wakeups.nudge()
        if not all(written):
            stale = [outcome.job_id for outcome, kept in zip(outcomes, written, strict=True) if not kept]
            self._counters.count_stale(len(stale))
            log.warning("outcomes dropped: the leases had been lost", job_ids=stale)
        self._wakeups.make_room()


def _left_s(until_s: float) -> float:
    return max(until_s - time.monotonic(), 0.0)


def _as_arq_function(job_type: JobType[Any, Any]) -> Function:
    """How arq knows a job type: its name and its number of tries."""

    async def never_called(ctx: dict[str, Any]) -> None:
        raise AssertionError("job types are run by the engine")

    return arq.func(never_called, name=job_type.name, max_tries=job_type.max_tries, timeout=job_type.timeout_s)
