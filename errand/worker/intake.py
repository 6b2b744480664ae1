"""Takes jobs in: how many a claim asks for, when it is sent, and how long the worker rests in between."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

import structlog
from arq.worker import Worker

from errand.leases.claiming import Claiming
from errand.leases.heartbeat import Heartbeat
from errand.leases.leases import Claimed, Finish
from errand.leases.parked import Parked
from errand.leases.wakeups import Wakeups
from errand.wire.counters import Counters
from errand.worker.executor import Executor
from errand.worker.shared_slots import SharedSlots

log = structlog.get_logger("errand.worker")


CLAIMS_IN_STEP = 2
"""A claim fills this part of the slots: while its jobs run the next one is on its way, and neither side waits."""


TAKE_TURNS = 3
"""So many workers on a queue keep Redis busy though each waits for its answers.

A claim is then sent after the first turn of the jobs before it, for all slots if all are free by then: half as many
calls, and a processor changes half as often from one worker to another.
"""


UNWRITTEN_FACTOR = 2
"""Outcomes on their way to Redis do not hold a slot, up to this many slots' worth of jobs in all."""


CRON_LOOK_S = 0.5
"""Arq looks at its cron jobs this often, and plans them no further ahead."""


class Intake:
    """Fills the slots of one worker."""

    def __init__(
        self,
        worker: Worker,
        *,
        claiming: Claiming,
        parked: Parked,
        wakeups: Wakeups,
        heartbeat: Heartbeat,
        executor: Executor,
        counters: Counters,
        slots: SharedSlots | None = None,
    ) -> None:
        """`slots`: what this worker shares with others; without it, it has all of its own."""
        self._worker = worker
        self._claiming = claiming
        self._parked = parked
        self._wakeups = wakeups
        self._heartbeat = heartbeat
        self._executor = executor
        self._counters = counters
        self._slots = slots
        self._rest_limit_s = worker.poll_delay_s
        if slots is not None:
            slots.join(self)

    def rest_longer(self, limit_s: float) -> None:
        """An idle worker looks at its queue and for parked jobs this often, unless `note_next_due` is called."""
        self._rest_limit_s = self._parked.look_s = limit_s

    def note_next_due(self, due_in_ms: int) -> None:
        """Ends the rest if the queue's first job is due sooner than was known; see `Worker.note_next_due`."""
        if due_in_ms == 0:
            self._parked.look_now()
            self._wakeups.nudge()
        elif self._claiming.note_due_again(due_in_ms):
            self._wakeups.nudge()

    @property
    def free_slots(self) -> int:
        """How many more jobs may run now; slots that are kept for the claim behind a wake-up are not free."""
        most = self._worker.max_jobs
        free = min(most - len(self._worker.tasks), UNWRITTEN_FACTOR * most - len(self._heartbeat))
        if self._slots is not None:
            free = min(free, self._slots.room_for(self, used=len(self._worker.tasks)))
        return free - self._wakeups.reserved

    @property
    def held(self) -> int:
        """How many slots are taken, or kept for claims under way."""
        return len(self._worker.tasks) + self._wakeups.reserved + self._claiming.asked

    def make_room(self) -> None:
        """A slot is free: ends the wait for one."""
        self._wakeups.make_room()

    async def claim(self) -> None:
        """Starts the jobs of the claim under way; sends a claim if there is none and there are free slots.

        Raises redis' errors.
        """
        worker, most = self._worker, self._claimable(self.free_slots)
        if not self._claiming.is_under_way and not (worker.allow_pick_jobs and most > 0):
            return
        if worker.allow_pick_jobs:
            await self._parked.release(most)
        if self._slots is not None:
            most = self._claimable(self.free_slots)  # another worker may have taken of them meanwhile
            if most <= 0 and not self._claiming.is_under_way:
                return
            self._slots.take_turn(self)
        claimed, asked = await self._claiming.answer(most)
        if self._slots is not None and len(claimed.claims) < asked:
            self._slots.make_room()
        if not worker.allow_pick_jobs:
            self._claiming.hand_back(claimed)
            return
        self._claiming.note_what_is_left(claimed, asked)
        next_most = self._claimable(self.free_slots - len(claimed.claims))
        if self._asks_ahead and next_most > 0:
            # sent before these jobs are started: Redis answers while they run
            self._claiming.ask(next_most)
        self._executor.start(claimed)

    def take(self, claimed: Claimed, asked: int) -> None:
        """Starts what Redis claimed for this worker at the moment of a wake-up, of `asked` jobs at most."""
        if not self._worker.allow_pick_jobs:
            self._claiming.hand_back(claimed)
            return
        self._claiming.note_what_is_left(claimed, asked)
        self._executor.start(claimed)

    async def rest(self) -> None:
        """Waits until there is something to do: room for jobs that are due, a wake-up, the next due time, or a poll."""
        if self.free_slots <= 0 or not self._worker.allow_pick_jobs:
            if self._claiming.more_is_due:
                self._wakeups.interrupt()
            if self._slots is not None and self._worker.allow_pick_jobs:
                self._slots.wait(self)
            await self._wakeups.wait_for_room(self._worker.poll_delay_s)
        elif self._worker.burst or self._claiming.more_is_due:
            await asyncio.sleep(0 if self._claiming.more_is_due else self._worker.poll_delay_s)
        else:
            await self._sleep()

    def leave_line(self) -> None:
        """The worker cannot claim now: others that share its slots need not wait for its turn."""
        if self._slots is not None:
            self._slots.leave_line(self)
            self._slots.make_room()

    def release(self, outcomes: Sequence[Finish], written: Sequence[bool]) -> None:
        """The outcomes are in Redis, or were dropped because the leases had become another worker's: slots are free."""
        for outcome in outcomes:
            self._heartbeat.let_go(outcome.job_id, outcome.token)
            if outcome.due_in_ms is not None and self._claiming.note_due_again(outcome.due_in_ms):
                self._wakeups.nudge()
        if not all(written):
            stale = [outcome.job_id for outcome, kept in zip(outcomes, written, strict=True) if not kept]
            self._counters.count_stale(len(stale))
            log.warning("outcomes dropped: the leases had been lost", job_ids=stale)
        (self._slots or self).make_room()

    @property
    def _asks_ahead(self) -> bool:
        return self._claiming.more_is_due and not self._worker.burst and not self._takes_turns

    def _claims_in_step(self, free_slots: int) -> int:
        return 1 if self._takes_turns and free_slots >= self._worker.max_jobs else CLAIMS_IN_STEP

    @property
    def _takes_turns(self) -> bool:
        """True if enough others run jobs while this worker waits for an answer."""
        return self._claiming.workers >= TAKE_TURNS and self._slots is None

    def _claimable(self, free_slots: int) -> int:
        """How many jobs one claim asks for."""
        worker = self._worker
        most = min(free_slots, worker.queue_read_limit, math.ceil(worker.max_jobs / self._claims_in_step(free_slots)))
        if worker.burst and worker.max_burst_jobs >= 0:
            most = min(most, worker.max_burst_jobs - worker._jobs_started())  # arq's own count
        return most

    async def _sleep(self) -> None:
        """Waits until the queue is to be looked at; jobs that a wake-up brings with it start meanwhile."""
        until_s = time.monotonic() + self._rest_limit_s
        while not await self._wakeups.wait(min(self._idle_s(), until_s - time.monotonic()), reserve=self._reserve()):
            if not self._worker.tasks:
                # the claim behind a wake-up found nothing: it has looked at the queue all the same
                until_s = time.monotonic() + self._rest_limit_s
            if self._claiming.more_is_due or self.free_slots <= 0 or time.monotonic() >= until_s:
                return
            if await self._released():
                return

    async def _released(self) -> bool:
        """True if parked jobs have been made due; also if Redis refuses: the next claim meets the same error."""
        try:
            return await self._parked.release(self._claimable(self.free_slots))
        except Exception as error:  # noqa: BLE001  # sorted where the loop makes its claims
            log.debug("parked jobs could not be looked for", error=str(error))
            return True

    def _reserve(self) -> int:
        """How many slots to keep for the claim behind a wake-up: half, so that polls find some too."""
        half = self._claimable(self.free_slots // 2)
        return half if self._slots is None else min(half, self._slots.kept)

    def _idle_s(self) -> float:
        limits_s = [self._rest_limit_s, self._claiming.next_due_in_s, self._parked.left_due_in_s]
        if self._worker.cron_jobs:
            limits_s.append(CRON_LOOK_S)
        # arq's sign of life ends a second after it is due again
        limits_s.append(self._worker._last_health_check + self._worker.health_check_interval - time.time())
        return max(min(limits_s), 0.0)
