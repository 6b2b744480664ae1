"""Renews the leases that a worker holds, all in one call: of jobs that run, and of outcomes not yet written.

A process that was silent for long may have lost leases without knowing it: before it starts a job it proves that the
lease is still its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

import structlog

from errand.leases.leases import Claim, Claimed, Leases
from errand.redis.outage import Outage, is_outage
from errand.wire.counters import Counters
from errand.wire.worker_report import WorkerReport

log = structlog.get_logger("errand.worker")

ANSWER_WITHIN_S = 1.0
"""How long a stop waits for the answer to a heartbeat that is under way. Redis may have added up what came with it:
sent again with the last heartbeat, it would count twice."""


class Heartbeat:
    """The leases of one worker, and the task that renews them."""

    def __init__(
        self,
        leases: Leases,
        outage: Outage,
        *,
        counters: Counters,
        report: Callable[[], WorkerReport],
        stop: Callable[[str], bool],
        cancel: Callable[[Iterable[str]], None],
        beaten: Callable[[], Awaitable[None]],
    ) -> None:
        """Each heartbeat also carries the `counters` and the `report` of the worker.

        `stop` ends the attempt of a job whose lease was lost; it returns False if none runs, or it is over. `cancel`
        is given the ids of the jobs that somebody has asked to cancel. `beaten` is awaited after each regular heartbeat
        that was answered; what it raises is logged.
        """
        self._leases = leases
        self._outage = outage
        self._counters = counters
        self._report = report
        self._stop = stop
        self._cancel = cancel
        self._beaten = beaten
        self._tokens: dict[str, str] = {}
        """The token of each lease held, by job id."""
        self._beating = False
        self._over = asyncio.Event()
        self._heartbeat: asyncio.Task[None] | None = None
        self.is_something_to_sweep = False
        """As the last heartbeat has found it: whether a sweep of the queue would look at anything."""
        self._renewed_s = time.monotonic()
        self._unbroken_since_s = self._renewed_s
        """Since this moment no heartbeat was so late that leases may have lapsed."""

    def __len__(self) -> int:
        return len(self._tokens)

    def hold(self, claim: Claim) -> None:
        """Renews that claim's lease from now on."""
        self._tokens[claim.job_id] = claim.token

    def let_go(self, job_id: str, token: str) -> None:
        """Renews that claim's lease no longer; if the job was claimed again since, the lease of that claim stays."""
        if self._tokens.get(job_id) == token:
            del self._tokens[job_id]

    @property
    def held(self) -> dict[str, str]:
        """The token of each lease held, by job id; another thread may ask."""
        return dict(self._tokens)

    def holds(self, claim: Claim) -> bool:
        """True while that claim's lease is renewed."""
        return self._tokens.get(claim.job_id) == claim.token

    def start(self) -> None:
        """Sends a heartbeat at once, then one every third of a lease, until `stop_beating`."""
        self._beating = True
        if self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._beat())

    async def stop_beating(self) -> None:
        """Ends the heartbeats; returns when none is under way. One that has no answer after a second is given up."""
        self._beating = False
        self._over.set()
        if self._heartbeat is not None:
            await asyncio.wait({self._heartbeat}, timeout=ANSWER_WITHIN_S)
            self._heartbeat.cancel()
            await asyncio.gather(self._heartbeat, return_exceptions=True)

    @property
    def are_doubtful(self) -> bool:
        """True if the loop was blocked, or Redis away, for so long that leases held may have been lost."""
        return bool(self._tokens) and self._was_silent

    def may_have_lapsed(self, claimed: Claimed) -> bool:
        """True if this process was silent for long since it sent the claim: others may have run the jobs by now."""
        return bool(claimed.claims) and (self._was_silent or claimed.asked_s < self._unbroken_since_s)

    def count(self, name: str) -> None:
        """Adds 1 to a counter of that name, which goes with the next heartbeat."""
        self._counters.add(name)

    async def prove(self) -> bool:
        """Renews the leases held, and stops the jobs whose leases were lost; False if Redis gave no answer."""
        try:
            await self.renew()
        except Exception as error:  # noqa: BLE001  # without an answer nothing is proved
            log.warning("leases could not be proved, jobs not started", error=str(error))
            return False
        return True

    async def renew(self) -> None:
        """Sends one heartbeat. Raises redis' errors; the counts then go with the next one."""
        counted, held, started_s = self._counters.take(), dict(self._tokens), time.monotonic()
        try:
            renewed = await self._leases.renew(held, counted, report=self._report().as_json())
        except BaseException:
            self._counters.put_back(counted)
            raise
        if started_s - self._renewed_s > self._longest_silence_s:
            self._unbroken_since_s = started_s
        self._renewed_s, self.is_something_to_sweep = started_s, renewed.to_sweep
        self._give_up_lost({job_id: held[job_id] for job_id in renewed.lost})
        self._cancel(renewed.to_cancel)

    @property
    def _longest_silence_s(self) -> float:
        """After a longer silence a process may have lost leases."""
        return 2 * self._leases.interval_s

    @property
    def _was_silent(self) -> bool:
        return time.monotonic() - self._renewed_s > self._longest_silence_s

    async def _beat(self) -> None:
        # not `while True`: the cancellation that ends it may be swallowed, as in Worker._poll_iteration
        while self._beating:
            try:
                await self.renew()
                await self._beaten()
            except Exception as error:  # noqa: BLE001  # whatever Redis answers, the next heartbeat must come
                known = self._outage.lasts and is_outage(error)  # the outage is in the log already
                log.log(logging.DEBUG if known else logging.WARNING, "heartbeat missed", error=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._leases.interval_s):
                    await self._over.wait()

    def _give_up_lost(self, lost: Mapping[str, str]) -> None:
        """Stops the attempts whose leases were lost: another worker runs these jobs, or will.

        A lease that ended with its job while the heartbeat was under way is not lost.
        """
        for job_id, token in lost.items():
            if self._tokens.get(job_id) == token:
                self.give_up(job_id)

    def give_up(self, job_id: str) -> None:
        """The lease held on that job was lost: stops its attempt, unless it is over."""
        if job_id in self._tokens and self._stop(job_id):
            self._counters.add("leases_lost")
            log.warning("lease lost, attempt stopped", job_id=job_id)
            del self._tokens[job_id]
