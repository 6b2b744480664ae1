"""The slots of one queue that several workers of a process share, one worker for each partition.

A worker may take all that the others leave, so that the process runs as many jobs as with one partition, wherever they
lie. A few slots are kept for each worker: a partition full of long jobs holds up no other one.
"""

from __future__ import annotations

from typing import Protocol

KEPT_PART = 4
"""One slot in so many is kept for single workers, all together; each has one at least."""


class Sharer(Protocol):
    """A worker, as far as its slots are concerned."""

    @property
    def held(self) -> int:
        """How many slots it has taken, those included that are kept for its claims under way."""

    def make_room(self) -> None:
        """Ends its wait for room."""


class SharedSlots:
    """So many slots, for so many workers."""

    def __init__(self, slots: int, *, workers: int) -> None:
        self.slots = slots
        self.share = -(-slots // workers)
        """An equal share, for reports: each worker is only shown its own."""
        self.kept = max(1, slots // (KEPT_PART * workers))
        """How many are kept for each worker."""
        self._sharers: list[Sharer] = []

    def join(self, sharer: Sharer) -> None:
        """The worker shares from now on."""
        self._sharers.append(sharer)

    def room_for(self, sharer: Sharer, *, used: int) -> int:
        """How many more slots that worker may take, which uses so many."""
        others = sum(max(other.held, self.kept) for other in self._sharers if other is not sharer)
        return max(self.slots - others, self.kept) - used

    def make_room(self) -> None:
        """A slot is free, for whichever worker."""
        for sharer in self._sharers:
            sharer.make_room()
