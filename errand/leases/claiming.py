"""The claim that a worker has under way, and what it knows of the jobs that are left in the queue."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time

from errand.leases.finisher import Finisher
from errand.leases.leases import Claimed, Leases


class Claiming:
    """The claims of one worker, one under way at most. It may be sent before there is time for its answer."""

    def __init__(self, leases: Leases, finisher: Finisher) -> None:
        self._leases = leases
        self._finisher = finisher
        self._under_way: tuple[int, asyncio.Task[Claimed]] | None = None
        """How many were asked for, and the answer to be."""
        self._next_due_s = math.inf
        """When the next job is known to be due, on the monotonic clock."""
        self.more_is_due = True

    @property
    def is_under_way(self) -> bool:
        return self._under_way is not None

    def ask(self, most: int) -> tuple[int, asyncio.Task[Claimed]]:
        """Sends a claim of up to `most` jobs, for `answer`."""
        self._under_way = (most, asyncio.create_task(self._leases.claim(most)))
        return self._under_way

    async def answer(self, most: int) -> tuple[Claimed, int]:
        """What the claim under way brings, or a new one of up to `most` jobs, and how many were asked for.

        Cancelled, it hands back what it is leased. Raises redis' errors.
        """
        asked, claiming = self._under_way or self.ask(most)
        try:
            # a worker that is stopped in the middle of a claim may have been leased jobs by then: the answer is awaited
            return await asyncio.shield(claiming), asked
        except asyncio.CancelledError:
            await self.hand_back_under_way()
            raise
        finally:
            if claiming.done():
                self._under_way = None

    def hand_back(self, claimed: Claimed) -> None:
        """Gives jobs back, unstarted and with their tries."""
        for claim in claimed.claims:
            self._finisher.put(claim.handed_back())

    async def hand_back_under_way(self) -> None:
        """The same with the jobs of a claim under way."""
        if self._under_way is not None:
            with contextlib.suppress(Exception):  # Redis is away: the leases run out by themselves
                self.hand_back(await self._under_way[1])
            self._under_way = None

    def note_what_is_left(self, claimed: Claimed, asked: int) -> None:
        """A claim has seen the head of the queue."""
        self._next_due_s = math.inf if claimed.due_in_ms is None else time.monotonic() + claimed.due_in_ms / 1000
        self.more_is_due = len(claimed.claims) == asked

    def note_due_again(self, due_in_ms: int) -> bool:
        """A job of ours is back in the queue; True where it is due sooner than anything that was known."""
        due_s = time.monotonic() + due_in_ms / 1000
        sooner = due_s < self._next_due_s
        if sooner:
            self._next_due_s = due_s
        return sooner

    @property
    def next_due_in_s(self) -> float:
        """Negative where that has passed."""
        return self._next_due_s - time.monotonic()
