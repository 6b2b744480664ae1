"""Who may be sent a delivery now: no receiver takes the slots, or the time, of another.

A delivery that finds its receiver busy waits for its turn in memory if that will come within a second; else it is put
back into the queue without a try and holds no slot. The limits are those of one worker process.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from itertools import count

from errand.job.control import Snooze

TURN_LIMIT_S = 1.0
"""How long a delivery may hold a slot while it waits for its turn."""
SOONEST_S, LATEST_S = 0.1, 60.0
"""When a delivery that was put back is looked at again."""
SET_ASIDE = 10
"""This part of the slots is for receivers that have none."""
WEIGHT = 0.2
"""How much the latest exchange counts in the mean of a receiver's times."""


class Receiver:
    """One receiver: what it is sent now, and how long it takes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.turns: deque[asyncio.Future[None]] = deque()
        """Deliveries that wait in memory."""
        self._started_s: dict[int, float] = {}
        """When the exchanges under way started, the oldest first."""
        self._numbers = count()
        self._given = 0
        """Turns that have come and not started: a newcomer must not take their room."""
        self._mean_s = 0.1
        self._stalled = 0
        """How many deliveries were put back since an exchange ended."""
        self._line_s = 0.0
        """When the turn of the last delivery that was put back comes, as far as can be known."""

    @property
    def held(self) -> int:
        """How many slots its deliveries hold."""
        return len(self._started_s) + self._given + len(self.turns)

    @property
    def is_free(self) -> bool:
        """One more delivery may start."""
        return len(self._started_s) + self._given < self.limit

    @property
    def pace_s(self) -> float:
        """How often a turn comes, in seconds, if it goes on as it does."""
        oldest_s = next(iter(self._started_s.values()), None)
        lasting_s = 0.0 if oldest_s is None else time.monotonic() - oldest_s
        return max(self._mean_s, lasting_s) / self.limit

    def start(self) -> int:
        """An exchange with it starts; returns its number."""
        number = next(self._numbers)
        self._started_s[number] = time.monotonic()
        return number

    def end(self, number: int, *, counts: bool) -> None:
        """It has ended; it `counts` unless it did not happen after all. The next in turn may start."""
        started_s = self._started_s.pop(number)
        if counts:
            self._mean_s += WEIGHT * (time.monotonic() - started_s - self._mean_s)
            self._stalled = 0
        self._give_turn()

    async def turn(self) -> bool:
        """Waits until it is free for one more, which must start at once; False if that takes too long."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.turns.append(turn)
        try:
            async with asyncio.timeout(TURN_LIMIT_S):
                await turn
        except TimeoutError:
            pass
        except asyncio.CancelledError:
            if self._was_given(turn):
                self._give_turn()
            raise
        return self._was_given(turn)

    def _give_turn(self) -> None:
        while self.turns:
            turn = self.turns.popleft()
            if not turn.done():
                self._given += 1
                turn.set_result(None)
                return

    def _was_given(self, turn: asyncio.Future[None]) -> bool:
        """Whether that turn has come; if not, it will not."""
        if turn.done() and not turn.cancelled():
            self._given -= 1
            return True
        if turn in self.turns:
            self.turns.remove(turn)
        return False

    def wait_s(self) -> float:
        """How long a delivery that is put back waits: until those that were put back before it have had their turns.

        The longer nothing ends, the further apart they come: the backlog of a receiver that has just started to hang
        would else come again within seconds, and all other deliveries would wait behind it.
        """
        now_s, pace_s = time.monotonic(), self.pace_s * (1 + self._stalled / self.limit)
        self._stalled += 1
        self._line_s = max(self._line_s, now_s + len(self.turns) * self.pace_s) + pace_s
        if self._line_s - now_s > LATEST_S:
            self._line_s = now_s + LATEST_S
            return random.uniform(LATEST_S / 2, LATEST_S)  # noqa: S311  # spread
        return max(self._line_s - now_s, SOONEST_S)


Limit = tuple[str, int]
"""The name of a receiver, and how many exchanges it may have at once."""


class Receivers:
    """All receivers of one worker process, and the slots that they share."""

    def __init__(self, *, slots: int) -> None:
        self._slots = slots
        self._held = 0
        self._receivers: dict[str, Receiver] = {}

    def turn(self, *limits: Limit) -> ReceiverTurn:
        """Around one exchange, `async with`; it counts with each receiver named: an endpoint, and its host.

        Raises Snooze if its turn does not come soon.
        """
        return ReceiverTurn(self, limits)

    def hold_slot(self) -> None:
        """A delivery has a slot of the worker."""
        self._held += 1

    def leave_slot(self) -> None:
        """It has none any more."""
        self._held -= 1
        self._forget_idle()

    def of(self, limit: Limit) -> Receiver:
        """The receiver of that name, which has that limit from now on."""
        name, at_once = limit
        receiver = self._receivers.get(name)
        if receiver is None:
            receiver = self._receivers[name] = Receiver(at_once)
        receiver.limit = at_once
        return receiver

    async def may_start(self, receiver: Receiver) -> bool:
        """Waits for its turn if that comes soon; False if it does not."""
        if receiver.held and receiver.held >= self._share():
            return False
        if receiver.is_free and not receiver.turns:
            return True
        if (len(receiver.turns) + 1) * receiver.pace_s > TURN_LIMIT_S:
            return False
        return await receiver.turn()

    def _share(self) -> int:
        """How many slots one receiver may hold: as many as are free, a tenth of all set aside; one in any case.

        So one that hangs takes less than half of them, several take less each the more they are, and there are
        always some for a receiver that has none (dynamic thresholds, Choudhury and Hahne 1998).
        """
        return self._slots - self._held - self._slots // SET_ASIDE

    def _forget_idle(self) -> None:
        """What is known of receivers that nothing is under way to is forgotten when there are many of them."""
        if len(self._receivers) > 10_000:
            self._receivers = {name: receiver for name, receiver in self._receivers.items() if receiver.held}


class ReceiverTurn:
    """Around one exchange of a delivery, which holds one slot however many limits it has.

    A class: two generators and a stack for each delivery cost as much as to post it.
    """

    __slots__ = ("_limits", "_receivers", "_started")

    def __init__(self, receivers: Receivers, limits: tuple[Limit, ...]) -> None:
        self._receivers = receivers
        self._limits = limits
        self._started: list[tuple[Receiver, int]] = []

    async def __aenter__(self) -> None:
        receivers = self._receivers
        receivers.hold_slot()
        try:
            for limit in self._limits:
                receiver = receivers.of(limit)
                if not await receivers.may_start(receiver):
                    raise Snooze(f"{limit[0]} is busy", after_s=receiver.wait_s(), code="endpoint_busy")
                self._started.append((receiver, receiver.start()))
        except BaseException:
            self._end(counts=False)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._end(counts=True)

    def _end(self, *, counts: bool) -> None:
        for receiver, number in reversed(self._started):
            receiver.end(number, counts=counts)
        self._receivers.leave_slot()
