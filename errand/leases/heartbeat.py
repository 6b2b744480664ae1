"""The leases that a worker holds, renewed together by its heartbeat: of jobs that run, and of outcomes not yet written.

A process that was silent for long may have lost some without knowing it: it proves what it holds before it goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping

import structlog

from errand.leases.leases import Claim, Claimed, Leases
from errand.redis.outage import Outage, is_outage
from errand.wire.counters import Counters
from errand.wire.worker_report import WorkerReport

log = structlog.get_logger("errand.worker")


class Heartbeat:
    """The leases of one worker by the ids of their jobs, and the heartbeat that keeps them."""

    def __init__(
        self,
        leases: Leases,
        outage: Outage,
        *,
        counters: Counters,
        report: Callable[[], WorkerReport],
        stop: Callable[[str], bool],
        cancel: Callable[[Iterable[str]], None],
    ) -> None:
        """With each heartbeat goes what is counted, and the `report` of the worker.

        `stop` ends the attempt of a job whose lease was lost, and returns False if none runs; `cancel` is given which
        jobs somebody has asked to cancel.
        """
        self._leases = leases
        self._outage = outage
        self._counters = counters
        self._report = report
        self._stop = stop
        self._cancel = cancel
        self._tokens: dict[str, str] = {}
        self._beating = False
        self._heartbeat: asyncio.Task[None] | None = None
        self._renewed_s = time.monotonic()
        self._unbroken_since_s = self._renewed_s
        """Since when no heartbeat was so late that leases may have lapsed."""

    def __len__(self) -> int:
        return len(self._tokens)

    def hold(self, claim: Claim) -> None:
        """That claim's lease is renewed from now on."""
        self._tokens[claim.job_id] = claim.token

    def let_go(self, job_id: str, token: str) -> None:
        """That claim's lease is not renewed any more; a later claim of the same job keeps its own."""
        if self._tokens.get(job_id) == token:
            del self._tokens[job_id]

    def holds(self, claim: Claim) -> bool:
        """True while that claim's lease is renewed."""
        return self._tokens.get(claim.job_id) == claim.token

    def start(self) -> None:
        """A heartbeat at once, then every third of a lease, until `stop_beating`."""
        self._beating = True
        if self._heartbeat is None:
            self._heartbeat = asyncio.create_task(self._beat())

    async def stop_beating(self) -> None:
        self._beating = False
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.gather(self._heartbeat, return_exceptions=True)

    @property
    def are_doubtful(self) -> bool:
        """The loop was blocked or Redis away for so long that leases may have been lost."""
        return bool(self._tokens) and self._was_silent

    def may_have_lapsed(self, claimed: Claimed) -> bool:
        """True where this process was silent for long since it asked: others may have run these jobs by now."""
        return bool(claimed.claims) and (self._was_silent or claimed.asked_s < self._unbroken_since_s)

    async def prove(self) -> bool:
        """Renews what is held, which stops the jobs whose leases were lost; False where Redis could not be asked."""
        try:
            await self.renew()
        except Exception as error:  # noqa: BLE001  # whatever Redis answers, nothing was proved
            log.warning("leases could not be proved, jobs not started", error=str(error))
            return False
        return True

    async def renew(self) -> None:
        """One heartbeat. Raises redis' errors; what was counted goes with the next one then."""
        counted, held, started_s = self._counters.take(), dict(self._tokens), time.monotonic()
        try:
            renewed = await self._leases.renew(held, counted, report=self._report().as_json())
        except BaseException:
            self._counters.put_back(counted)
            raise
        if started_s - self._renewed_s > self._longest_silence_s:
            self._unbroken_since_s = started_s
        self._renewed_s = started_s
        self._give_up({job_id: held[job_id] for job_id in renewed.lost})
        self._cancel(renewed.to_cancel)

    @property
    def _longest_silence_s(self) -> float:
        """A process that was silent for longer may have lost leases."""
        return 2 * self._leases.interval_s

    @property
    def _was_silent(self) -> bool:
        return time.monotonic() - self._renewed_s > self._longest_silence_s

    async def _beat(self) -> None:
        # not `while True`: the cancellation that ends it may be swallowed, see Worker._poll_iteration
        while self._beating:
            try:
                await self.renew()
            except Exception as error:  # noqa: BLE001  # whatever Redis answers, the next heartbeat must come
                known = self._outage.lasts and is_outage(error)  # said already
                log.log(logging.DEBUG if known else logging.WARNING, "heartbeat missed", error=str(error))
            if self._beating:
                await asyncio.sleep(self._leases.interval_s)

    def _give_up(self, lost: Mapping[str, str]) -> None:
        """A lease that was lost means that the job is, or will be, run by another: ours is stopped."""
        for job_id, token in lost.items():
            if self._tokens.get(job_id) == token and self._stop(job_id):
                log.warning("lease lost, attempt stopped", job_id=job_id)
                del self._tokens[job_id]
