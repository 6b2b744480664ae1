"""Who may be sent a delivery now: no receiver takes the slots, or the time, of another.

A delivery that finds its receiver busy waits for its turn in memory if that will come within a second; else it is put
back into the queue without a try and holds no slot (`waiting.py`). The limits are those of one worker process.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from itertools import count

from errand.job.control import Snooze

TURN_LIMIT_S = 1.0
"""How long a delivery may hold a slot while it waits for its turn."""
SHORT_TURN_S = 0.1
"""The same if its receiver holds its share of the slots: one that answers at once has a turn for it in a moment, where
to put it back and claim it again costs as much as to deliver it."""
LATEST_S = 60.0
"""When a delivery that waits for an endpoint's time is looked at again."""
SET_ASIDE = 10
"""This part of the slots is for receivers that have none."""
WEIGHT = 0.2
"""How much the latest exchange counts in the mean of a receiver's times."""
AHEAD_S, MAX_AHEAD = 0.05, 100
"""So many deliveries are to wait in memory as get their turns in this time: others take a while to come."""
EXPECTED_S = 2.0
"""How long one that was to come is expected: another worker may have claimed it."""
STUCK, STUCK_S = 20, 0.25
"""A receiver is stuck if so many deliveries were put back, and for so long, since an exchange with it ended."""
FAR_OFF_S, APART_S = 600.0, 0.005
"""When a delivery that was put back is due again by itself, and how far from the one before it."""


class FarOff:
    """When the deliveries that this process puts back are due again: in their order, and never many at once."""

    def __init__(self) -> None:
        self._last_s = 0.0

    def take_s(self, jobs: int = 1) -> float:
        """In how many seconds the first of so many is due; they are `APART_S` from each other."""
        now_s = time.monotonic()
        first_s = max(self._last_s + APART_S, now_s + FAR_OFF_S)
        self._last_s = first_s + (jobs - 1) * APART_S
        return first_s - now_s


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
        self._put_back = 0
        """How many deliveries were put back since an exchange ended."""
        self._ended_s = time.monotonic()
        self._expected = 0
        self._expected_s = 0.0
        """How many deliveries were made due for it and have not come, and since when."""

    @property
    def held(self) -> int:
        """How many slots its deliveries hold."""
        return len(self._started_s) + self._given + len(self.turns)

    @property
    def is_free(self) -> bool:
        """One more delivery may start."""
        return len(self._started_s) + self._given < self.limit

    @property
    def exchange_s(self) -> float:
        """How long an exchange takes, if it goes on as it does."""
        oldest_s = next(iter(self._started_s.values()), None)
        return max(self._mean_s, 0.0 if oldest_s is None else time.monotonic() - oldest_s)

    @property
    def pace_s(self) -> float:
        """How often a turn comes, in seconds."""
        return self.exchange_s / self.limit

    @property
    def next_turn_s(self) -> float:
        """When one more would have its turn if no more exchanges were made at once than now."""
        return (len(self.turns) + 1) * self.exchange_s / max(len(self._started_s), 1)

    @property
    def room(self) -> int:
        """How many more would start, or get their turns soon."""
        ahead = min(int(AHEAD_S / self.pace_s) + 1, MAX_AHEAD) if self.exchange_s < TURN_LIMIT_S else 0
        return self.limit + ahead - self.held - self._still_expected

    @property
    def puts_back(self) -> bool:
        """Since an exchange ended, deliveries have found it busy."""
        return self._put_back > 0

    @property
    def is_stuck(self) -> bool:
        """Nothing has ended for a while, though many wait."""
        return self._put_back >= STUCK and time.monotonic() - self._ended_s > STUCK_S

    @property
    def _still_expected(self) -> int:
        return self._expected if time.monotonic() - self._expected_s < EXPECTED_S else 0

    def expect(self, deliveries: int) -> None:
        """So many more are made due for it; fewer, if the number is negative."""
        self._expected, self._expected_s = max(self._still_expected + deliveries, 0), time.monotonic()

    def came(self) -> None:
        """A delivery has come, whether or not it was expected."""
        if self._expected:
            self._expected -= 1

    def put_back(self) -> None:
        """A delivery has found it busy."""
        self._put_back += 1

    def start(self) -> int:
        """An exchange with it starts; returns its number."""
        number = next(self._numbers)
        self._started_s[number] = time.monotonic()
        return number

    def end(self, number: int, *, counts: bool) -> None:
        """It has ended; it `counts` unless it did not happen after all. The next in turn may start."""
        started_s = self._started_s.pop(number)
        if counts:
            self._ended_s = time.monotonic()
            self._mean_s += WEIGHT * (self._ended_s - started_s - self._mean_s)
            self._put_back = 0
        self._give_turn()

    async def turn(self, *, limit_s: float) -> bool:
        """Waits until it is free for one more, which must start at once; False if that takes too long."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.turns.append(turn)
        try:
            async with asyncio.timeout(limit_s):
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


Limit = tuple[str, int]
"""The name of a receiver, and how many exchanges it may have at once."""
ENDPOINT = "the endpoint "


def endpoint_name(endpoint_id: str) -> str:
    """An endpoint's name as a receiver; that of a host is its host and port."""
    return f"{ENDPOINT}{endpoint_id}"


def endpoint_of(name: str) -> str | None:
    """The endpoint of that name; None for a host, in whose name there is no space."""
    return name.removeprefix(ENDPOINT) if name.startswith(ENDPOINT) else None


def busy(name: str, *, after_s: float) -> Snooze:
    """Why a delivery whose turn does not come soon is put back."""
    return Snooze(f"{name} is busy", after_s=after_s, code="endpoint_busy", waits_for=name)


class Receivers:
    """All receivers of one worker process, and the slots that they share."""

    def __init__(self, *, slots: int) -> None:
        self._slots = slots
        self._held = 0
        self._receivers: dict[str, Receiver] = {}
        self.far_off = FarOff()

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

    def room(self, limit: Limit) -> int:
        """How many more deliveries to that receiver may come now, none of which would be put back."""
        receiver = self.of(limit)
        # each that comes takes one of the free slots, too, of which it may hold no more than are left
        by_share = max((self._share() - receiver.held) // 2, 0 if receiver.held else 1)
        return max(min(receiver.room, by_share), 0)

    def expect(self, name: str, deliveries: int) -> None:
        """So many more deliveries to the receiver of that name are made due; fewer, if the number is negative."""
        if (receiver := self._receivers.get(name)) is not None:
            receiver.expect(deliveries)

    def is_stuck(self, name: str) -> bool:
        """Nothing has ended for a while with the receiver of that name, though many wait."""
        receiver = self._receivers.get(name)
        return receiver is not None and receiver.is_stuck

    def puts_back(self, name: str) -> bool:
        """Since an exchange with the receiver of that name ended, deliveries have found it busy."""
        receiver = self._receivers.get(name)
        return receiver is not None and receiver.puts_back

    def may_start(self, receiver: Receiver) -> bool:
        """A delivery has come, and may start at once."""
        receiver.came()
        return receiver.is_free and not receiver.turns and self._has_share(receiver)

    async def may_start_soon(self, receiver: Receiver) -> bool:
        """Waits for its turn if that comes soon; False if it does not."""
        if self._has_share(receiver):
            comes_s, limit_s = (len(receiver.turns) + 1) * receiver.pace_s, TURN_LIMIT_S
        else:
            comes_s, limit_s = receiver.next_turn_s, min(SHORT_TURN_S, TURN_LIMIT_S)
        return comes_s <= limit_s and await receiver.turn(limit_s=limit_s)

    def _has_share(self, receiver: Receiver) -> bool:
        held = receiver.held
        return held == 0 or held < self._share()

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
                if not (receivers.may_start(receiver) or await receivers.may_start_soon(receiver)):
                    receiver.put_back()
                    raise busy(limit[0], after_s=receivers.far_off.take_s())
                self._started.append((receiver, receiver.start()))
        except BaseException:
            self._end(counts=False)
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end(counts=kind is not Snooze)

    def _end(self, *, counts: bool) -> None:
        for receiver, number in reversed(self._started):
            receiver.end(number, counts=counts)
        self._receivers.leave_slot()
