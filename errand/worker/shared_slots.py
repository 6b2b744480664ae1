"""The slots of one queue that several workers of a process share, one worker for each partition.

A worker may take all that the others leave, so that the process runs as many jobs as with one partition, wherever they
lie. A few slots are kept for each worker: a partition full of long jobs holds up no other one. If there are fewer slots
than workers none can be kept, and those that wait for one take turns.
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
        self.kept = max(1, slots // (KEPT_PART * workers)) if slots >= workers else 0
        """How many are kept for each worker."""
        self._workers = workers
        self._sharers: list[Sharer] = []
        self._in_turn: list[Sharer] = []
        """The same; who has claimed last is last."""
        self._waiting: list[Sharer] = []
        """Those that have found no room, and not claimed since."""

    def join(self, sharer: Sharer) -> None:
        """The worker shares from now on."""
        self._sharers.append(sharer)
        self._in_turn.append(sharer)

    def share_of(self, sharer: Sharer) -> int:
        """Its equal share, for reports: each worker is only shown its own."""
        share, left = divmod(self.slots, self._workers)
        return share + (self._sharers.index(sharer) < left)

    def room_for(self, sharer: Sharer, *, used: int) -> int:
        """How many more slots that worker may take, which uses so many."""
        others = sum(max(other.held, self.kept) for other in self._sharers if other is not sharer)
        room = max(self.slots - others, self.kept) - used
        return room if self.kept else room - self._ahead_of(sharer)

    def _ahead_of(self, sharer: Sharer) -> int:
        return sum(other in self._waiting for other in self._in_turn[: self._in_turn.index(sharer)])

    def wait(self, sharer: Sharer) -> None:
        """It has found no room, and is in line for the next slot."""
        if sharer not in self._waiting:
            self._waiting.append(sharer)

    def leave_line(self, sharer: Sharer) -> None:
        """It does not wait any more: its Redis is away, say."""
        if sharer in self._waiting:
            self._waiting.remove(sharer)

    def take_turn(self, sharer: Sharer) -> None:
        """It claims now: the next slot is for one of the others, if they wait."""
        self.leave_line(sharer)
        self._in_turn.remove(sharer)
        self._in_turn.append(sharer)

    def make_room(self) -> None:
        """A slot is free, for whichever worker."""
        for sharer in self._sharers:
            sharer.make_room()
