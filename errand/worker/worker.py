"""Arq's worker on an engine of its own: claims and finishes in groups, is woken, outlasts an absent Redis.

The constructor, the hooks and what plain functions are given are Arq's. Here are the life of the worker and its loop;
`intake.py` says when jobs are claimed, `executor.py` what happens to each of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
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
from errand.job.hooks import AttemptHook, Hook, of_type
from errand.job.job_type import JobType
from errand.job.limits.wire import limits_for_claims
from errand.leases.claiming import Claiming
from errand.leases.finisher import Finisher
from errand.leases.fleet import Fleet
from errand.leases.heartbeat import Heartbeat
from errand.leases.leases import Claim, Claimed, Finish, Leases
from errand.leases.parked import Parked
from errand.leases.wakeups import Wakeups
from errand.redis.outage import Outage, is_outage, missed, within
from errand.version import VERSION
from errand.wire.counters import Counters
from errand.wire.worker_report import WorkerReport
from errand.worker.aborts import Aborts
from errand.worker.admission import Admission
from errand.worker.arq_options import ArqOptions, signature_with_arqs
from errand.worker.cancel_calls import CancelCalls
from errand.worker.crashes import Suspects
from errand.worker.executor import Executor
from errand.worker.hooks.dead import DeadHooks
from errand.worker.intake import Intake
from errand.worker.isolation import Attempted
from errand.worker.loop_lag import LoopLag
from errand.worker.runners import claimed_job
from errand.worker.runners.arq_runner import ArqRunner
from errand.worker.runners.attempt_log import AttemptLog
from errand.worker.runners.effects import Effects
from errand.worker.runners.job_runner import JobRunner, as_arq_function
from errand.worker.runners.parking import Parking
from errand.worker.runners.result_records import ResultRecords
from errand.worker.runners.runner import Runners
from errand.worker.runners.transitions import OutcomeTtl, Transitions
from errand.worker.runners.unknown_type import UnknownTypeRunner
from errand.worker.shared_slots import SharedSlots
from errand.worker.sweep.sweep import Sweep
from errand.worker.watchdog import Watchdog

log = structlog.get_logger("errand.worker")


arq_log = logging.getLogger("arq.worker")


REST_WITH_LOOKOUT_S = 60.0
"""An idle worker looks at its queue this often all the same if somebody else does so for it each second."""


REFUSED_PAUSE_S = 1.0
"""The wait after a claim that Redis refused, so that the log is not flooded."""


CLOSE_LIMIT_S = 10
"""How long closing may take in all: a job whose outcome cannot be written by then runs again elsewhere."""


LEAVE_S = 1.0
"""The part of it that is kept for the worker's last report."""


class Worker(arq.Worker):
    """Runs the jobs of one queue: Errand's job types and plain Arq functions alike.

    >>> worker = Worker(job_types=[send_invoice], redis_pool=pool)
    >>> await worker.async_run()

    It takes Arq's parameters, and these:

    - `job_types`: the job types that it runs; `resources`: what they use; `hooks`: the hooks around them.
    - `lease_s`: how long a job stays claimed without a heartbeat, in seconds.
    - `result_ttl_s`, `dead_ttl_s`: how long Redis keeps ended jobs of these types, in seconds; the latter holds for
      failed ones.
    - `max_crashes`: how many attempts of one job may certainly have ended their process before it gives the job up.
    - `suspects`: the jobs that may end their process; the workers of one process share them.
    - `slots`: those that it shares with workers of other partitions, instead of `max_jobs` of its own.
    - `attempt_log`: the form of the line that each attempt leaves in the log.
    """

    def __init__(
        self,
        functions: Sequence[Function | WorkerCoroutine] = (),
        *,
        job_types: Sequence[JobType[Any, Any]] = (),
        resources: Mapping[Opener[Any], Any] | None = None,
        hooks: Sequence[Hook] = (),
        lease_s: float = 10,
        result_ttl_s: float = 7 * 86_400,
        dead_ttl_s: float = 30 * 86_400,
        max_crashes: int = MAX_CRASHES,
        suspects: Suspects | None = None,
        slots: SharedSlots | None = None,
        attempt_log: AttemptLog | None = None,
        **options: Unpack[ArqOptions],
    ) -> None:
        super().__init__([*functions, *map(as_arq_function, job_types)], **options)
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._job_types = {job_type.name: job_type for job_type in job_types}
        self._resources = {} if resources is None else resources
        self._hooks = hooks
        self._ttl = OutcomeTtl(ended_s=result_ttl_s, dead_s=dead_ttl_s)
        self._max_crashes = max_crashes
        self._suspects = suspects or Suspects()
        self._slots = slots
        self._attempt_log = attempt_log or AttemptLog()
        self._lease_s = lease_s
        self._outage = Outage()
        self._counters = Counters()
        self._lag = LoopLag()
        self._stopping = False
        if self._pool is not None:
            self._build()

    __signature__ = signature_with_arqs(__init__)

    # --- its parts

    def _build(self) -> None:
        """Builds everything that needs the connection, from the ground up."""
        queue, redis = self.queue_name, self.pool
        # Redis lists the workers and the ended jobs of job types; stock Arq's contents stay as Arq leaves them
        self._leases = Leases(
            redis,
            queue=queue,
            worker=self.name,
            lease_s=self._lease_s,
            visible=bool(self._job_types),
            limits=limits_for_claims(self._job_types.values()),
        )
        self._finisher = Finisher(self._leases, self._outage, done=self._release)
        self._claiming = Claiming(self._leases, self._finisher)
        self._wakeups = Wakeups(redis, queue=queue, worker=self.name, leases=self._leases, take=self._take)
        self._cancel_calls = CancelCalls(redis, queue=queue, cancel=self._cancel, missed=self._look_for_cancels)
        self._heartbeat = Heartbeat(
            self._leases,
            self._outage,
            counters=self._counters,
            report=self._report,
            stop=self._stop,
            cancel=self._cancel,
            beaten=self._claiming.hand_back_unanswered,
        )
        self._dead_hooks = DeadHooks(redis, self._hooks, queue=queue, job_types=self._job_types)
        self._job_runner = self._new_job_runner()
        self._watchdog = Watchdog(
            self,
            queue=queue,
            name=self.name,
            lease_s=self._lease_s,
            lag=self._lag,
            heartbeat=self._heartbeat,
            runner=self._job_runner,
        )
        # functions too: a worker that has both kinds reports both
        self._parked = Parked(
            redis, queue=queue, types=self.functions if self._job_types else (), look_s=self.poll_delay_s
        )
        self._parking = Parking(self._parked)
        self._unknown_met: set[str] = set()
        self._sweep = Sweep(redis, queue=queue, heartbeat=self._heartbeat, dead_hooks=self._dead_hooks)
        self._executor = self._new_executor()
        self._intake = Intake(
            self,
            claiming=self._claiming,
            parked=self._parked,
            wakeups=self._wakeups,
            heartbeat=self._heartbeat,
            executor=self._executor,
            counters=self._counters,
            slots=self._slots,
        )

    def _new_executor(self) -> Executor:
        aborts = Aborts()
        return Executor(
            self,
            heartbeat=self._heartbeat,
            admission=Admission(self, aborts=aborts, suspects=self._suspects),
            runners=self._runners(),
            finisher=self._finisher,
            wakeups=self._wakeups,
            aborts=aborts,
        )

    def _runners(self) -> Runners:
        unknown = UnknownTypeRunner(
            worker=self,
            fleet=Fleet(self.pool, queue=self.queue_name, silent_s=self._lease_s),
            job_runner=self._job_runner,
            parking=self._parking,
            met=self._unknown_met,
        )
        return Runners(
            self,
            job_types=self._job_types,
            job_runner=self._job_runner,
            arq_runner=ArqRunner(self, self._finisher),
            unknown=unknown,
        )

    def _new_job_runner(self) -> JobRunner:
        return JobRunner(
            worker=self,
            worker_name=self.name,
            job_types=self._job_types,
            resources=self._resources,
            leases=self._leases,
            finisher=self._finisher,
            effects=Effects(self.pool, queue=self.queue_name, outage=self._outage),
            records=ResultRecords(self.queue_name),
            transitions=Transitions(ttl=self._ttl),
            attempt_log=self._attempt_log,
            counters=self._counters,
            max_crashes=self._max_crashes,
            isolation=self._suspects.isolation,
            attempt_hooks=self._attempt_hooks(),
            dead_hooks=self._dead_hooks,
        )

    def _attempt_hooks(self) -> Mapping[str, Sequence[AttemptHook]]:
        hooks = [hook for hook in self._hooks if isinstance(hook, AttemptHook)]
        of_types = {name: of_type(hooks, name) for name in self._job_types}
        return {name: found for name, found in of_types.items() if found}

    async def attempt(self, claim: Claim, given: Mapping[str, Any]) -> Attempted:
        """Makes one attempt at a job that another process has claimed. That process writes the outcome.

        `given`: the args that the jobs for which it waited have given it.
        """
        job = claimed_job.read(claim, self.job_deserializer)
        job.given = dict(given)
        return await self._job_runner.attempt(job)

    def rely_on_lookout(self) -> None:
        """Has the worker look at its queue rarely. From now on the caller calls `note_next_due` about once a second."""
        self._intake.rest_longer(REST_WITH_LOOKOUT_S)

    def note_next_due(self, due_in_ms: int) -> None:
        """Notes in how many ms the queue's first job is due; 0 also means that there are parked jobs of its types."""
        self._intake.note_next_due(due_in_ms)

    # --- the life of the process

    async def main(self) -> None:
        """Starts as Arq's worker does, then runs jobs until it is cancelled or, in a burst, the queue is empty."""
        if self._pool is None:
            self._pool = await self._connect()
            self._build()
        arq_log.info("Starting worker for %d functions: %s", len(self.functions), ", ".join(self.functions))
        with contextlib.suppress(RedisError):  # Redis has just gone away, or does not allow INFO
            await log_redis_info(self.pool, arq_log.info)
        self.ctx["redis"] = self.pool
        if self.on_startup:
            await self.on_startup(self.ctx)
        self._lag.start()
        self._watchdog.start()
        self._heartbeat.start()
        if self._job_types:
            self._sweep.start()
        await self._cancel_calls.listen()
        try:
            await self._serve()
        finally:
            await self._cancel_calls.close()

    async def close(self) -> None:
        """Closes as Arq's worker does, and writes the last outcomes. If Redis stays away, it gives up after ten s."""
        if not self._handle_signals:
            self.handle_sig(signal.SIGUSR1)
        if self._pool is None:
            return
        until_s = time.monotonic() + CLOSE_LIMIT_S - LEAVE_S
        if self.main_task is not None:
            await asyncio.wait({self.main_task}, timeout=_left_s(until_s))
        await self._wakeups.close()
        await self._parking.close()
        await self._sweep.stop()
        await self._finish_running(until_s)
        self._watchdog.stop()
        self._lag.stop()
        await self._heartbeat.stop_beating()
        with missed():
            await within(_left_s(until_s) + LEAVE_S, self._leave())
        if self.on_shutdown:
            await self.on_shutdown(self.ctx)
        await self.pool.aclose(close_connection_pool=True)
        self._pool = None

    def handle_sig(self, signum: signal.Signals) -> None:
        self._stopping, self.allow_pick_jobs = True, False
        if self._pool is not None:
            self._wakeups.stop()
            self._executor.hand_back_unstarted()
        super().handle_sig(signum)

    def handle_sig_wait_for_completion(self, signum: signal.Signals) -> None:
        if self._pool is not None:
            # wake-ups are for other workers from now on
            self._wakeups.stop()
        super().handle_sig_wait_for_completion(signum)

    async def _wait_for_tasks_to_complete(self, signum: signal.Signals) -> None:
        await super()._wait_for_tasks_to_complete(signum)
        self._stopping = True

    async def _connect(self) -> ArqRedis:
        """The pool that Arq makes if it is given none."""
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
        with missed():
            await within(_left_s(until_s), self._claiming.hand_back_unanswered())
        if running := [*self.tasks.values(), *self._executor.ending]:
            # the other half of the time is for writing their outcomes
            await asyncio.wait(running, timeout=_left_s(until_s) / 2)
        unwritten = await self._finisher.drain(_left_s(until_s))
        await self._dead_hooks.close(_left_s(until_s))
        if unwritten:
            log.error("outcomes not written: redis is away; the jobs will run again", jobs=unwritten)

    def _report(self) -> WorkerReport:
        """What each heartbeat reports of this worker; while it drains it has only the slots that are taken."""
        draining = not self.allow_pick_jobs
        slots = self.max_jobs if self._slots is None else self._slots.share_of(self._intake)
        return WorkerReport(
            version=VERSION,
            slots=len(self.tasks) if draining else slots,
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
                self._intake.leave_line()
                if is_outage(error):
                    await self._outage.wait_out(error)
                else:
                    # a member of the queue cannot be claimed; its lease keeps it away from the next claims
                    log.exception("a claim was refused")
                    await asyncio.sleep(REFUSED_PAUSE_S)
            except Exception as error:  # noqa: BLE001  # sorted by wait_out, which raises what is no outage
                self._intake.leave_line()
                await self._outage.wait_out(error)
            else:
                await self._intake.rest()

    async def _poll_iteration(self) -> None:
        """One round of the loop: starts the jobs that are due, as many as there are free slots for."""
        if self._stopping:
            # redis-py's asyncio.wait_for can swallow, in Python 3.11, the cancellation that stops the loop
            raise asyncio.CancelledError
        if self._heartbeat.are_doubtful:
            # jobs that run here may be due again, and must not be claimed as if they were lost
            await self._heartbeat.renew()
        if self._slots is not None and self._outage.lasts:
            await self.pool.ping()  # a claim that waits for its answer would hold a slot that others share
        if self.allow_abort_jobs:
            await self._executor.look_for_aborts()
        await self._intake.claim()
        await self.heart_beat()

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Claims and starts due jobs: as many as there are ids and free slots. The claim itself decides which ones."""
        if (most := min(self._intake.free_slots, len(job_ids))) > 0:
            self._executor.start(await self._leases.claim(most))

    async def run_due(self) -> list[str]:
        """Runs the jobs that are due now and returns their ids, without a loop or a heartbeat. Tests use it."""
        claimed = await self._leases.claim(self.max_jobs)
        self._executor.start(claimed)
        # whatever an attempt raises concerns its own job
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        await self._finisher.drain(CLOSE_LIMIT_S)
        await self._dead_hooks.close(CLOSE_LIMIT_S)
        return [claim.job_id for claim in claimed.claims]

    async def _burst_is_over(self) -> bool:
        """The queue has only jobs of types that are unknown here, or as many have been started as the burst allows."""
        if 0 <= self.max_burst_jobs <= self._jobs_started():
            await asyncio.gather(*self.tasks.values())
            await self._finisher.drain(CLOSE_LIMIT_S)
            return True
        left: int = await self.pool.zcard(self.queue_name)
        # what it has parked is for others
        parked = await self._parked.count(self._unknown_met) if self._unknown_met else 0
        return left <= parked

    # --- calls from its parts

    def _take(self, claimed: Claimed, asked: int) -> None:
        self._intake.take(claimed, asked)

    def _cancel(self, job_ids: Iterable[str]) -> None:
        self._executor.cancel(job_ids)

    def _look_for_cancels(self) -> None:
        self._executor.note_missed_cancels()
        if len(self._heartbeat):
            self._looking = asyncio.ensure_future(self._heartbeat.prove())

    def _stop(self, job_id: str) -> bool:
        return self._executor.stop(job_id)

    def _release(self, outcomes: Sequence[Finish], written: Sequence[bool]) -> None:
        self._intake.release(outcomes, written)
        self._dead_hooks.note(outcomes, written)


def _left_s(until_s: float) -> float:
    return max(until_s - time.monotonic(), 0.0)
