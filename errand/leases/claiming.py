"""The claim that a worker has under way, and what the worker knows about the jobs that are left in the queue."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time

import structlog

from errand.leases.finisher import Finisher
from errand.leases.leases import Claimed, Leases

log = structlog.get_logger("errand.worker")


class Claiming:
    """The claims of one worker, at most one under way. A claim may be sent (`ask`) long before its answer is used."""

    def __init__(self, leases: Leases, finisher: Finisher) -> None:
        self._leases = leases
        self._finisher = finisher
        self._under_way: tuple[int, asyncio.Task[Claimed]] | None = None
        """How many jobs it asks for, and the call."""
        self._next_due_s = math.inf
        """When the next job is known to be due, on the monotonic clock."""
        self.more_is_due = True
        """The last claim got all the jobs that it asked for: there are probably more."""
        self.workers = 0
        """If more is due: how many workers of the queue live, as the last claim has found it."""

    @property
    def is_under_way(self) -> bool:
        return self._under_way is not None

    @property
    def asked(self) -> int:
        """How many jobs the claim under way may bring."""
        return 0 if self._under_way is None else self._under_way[0]

    def ask(self, most: int) -> tuple[int, asyncio.Task[Claimed]]:
        """Sends a claim of up to `most` jobs; `answer` returns its jobs."""
        self._under_way = (most, asyncio.create_task(self._leases.claim(most)))
        return self._under_way

    async def answer(self, most: int) -> tuple[Claimed, int]:
        """The jobs of the claim under way, or of a new claim of up to `most` jobs; and how many that claim asked for.

        If the caller is cancelled meanwhile, the claimed jobs go back to the queue. Raises redis' errors.
        """
        asked, claiming = self._under_way or self.ask(most)
        try:
            # the answer is awaited even if the worker is stopped now: Redis may have leased it jobs
            return await asyncio.shield(claiming), asked
        except asyncio.CancelledError:
            await self.hand_back_under_way()
            raise
        finally:
            if claiming.done():
                self._under_way = None

    def hand_back(self, claimed: Claimed) -> None:
        """Gives jobs that were not started back to the queue; the claim does not count as a try."""
        for claim in claimed.claims:
            self._finisher.put(claim.handed_back())

    async def hand_back_under_way(self) -> None:
        """Waits for the claim under way, if there is one, and gives its jobs back."""
        if self._under_way is not None:
            with contextlib.suppress(Exception):  # Redis is away: the leases expire by themselves
                self.hand_back(await self._under_way[1])
            self._under_way = None

    async def hand_back_unanswered(self) -> None:
        """Gives back what claims have leased whose answers were lost; asks nothing if there are none.

        Raises redis' errors.
        """
        if unanswered := await self._leases.unanswered():
            log.warning("the answer to a claim was lost, its jobs are handed back", jobs=len(unanswered))
        for outcome in unanswered:
            self._finisher.put(outcome)

    def note_what_is_left(self, claimed: Claimed, asked: int) -> None:
        """Notes when the next job is due and whether more are due now, from the answer to a claim of `asked` jobs."""
        self._next_due_s = math.inf if claimed.due_in_ms is None else time.monotonic() + claimed.due_in_ms / 1000
        self.more_is_due, self.workers = len(claimed.claims) == asked, claimed.workers

    def note_due_again(self, due_in_ms: int) -> bool:
        """A job goes back to the queue, due in `due_in_ms`; True if nothing was known to be due as soon."""
        due_s = time.monotonic() + due_in_ms / 1000
        sooner = due_s < self._next_due_s
        if sooner:
            self._next_due_s = due_s
        return sooner

    @property
    def next_due_in_s(self) -> float:
        """In how many seconds the next job is due: infinite if none is known, negative if it is overdue."""
        return self._next_due_s - time.monotonic()
