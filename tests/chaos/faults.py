"""What goes wrong, when, and to whom: drawn from a seed, so that a run can be had again.

Each round draws every kind once, in a new order. Faults overlap as they come, but every other one of some kinds (the
kill of a worker is one) is left alone for a lease and two seconds, so that the recovery from it can be measured.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

from tests.chaos.house import House
from tests.chaos.program import Program

SETTLE_S = 1.0
FIRST_ROUND_SHARE = 0.6
"""Of the time, for the first round."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One that happened, in seconds since the epoch."""

    kind: str
    target: str
    began_s: float
    ended_s: float
    pid: int
    """Of the process that it hit; of the worker, where it hit a link."""

    def overlaps(self, began_s: float, ended_s: float) -> bool:
        return self.began_s < ended_s and began_s < self.ended_s


@dataclass
class Faults:
    """Makes faults in a house and keeps what it made. These are of processes; each kind of store has more."""

    ALONE: ClassVar[Collection[str]] = ("kill worker",)
    """The kinds of which every other fault is left alone, the first one included."""

    house: House
    random: Random
    lease_s: float
    gap_s: float
    """How long from one fault to the next, on average; less where the run is too short for every kind to happen."""
    made: list[Fault] = field(default_factory=list)
    redis_away: list[tuple[float, float]] = field(default_factory=list)
    """When Redis did not answer, from and to, in seconds since the epoch."""
    say: Callable[[str], None] = print
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _broken: list[BaseException] = field(default_factory=list)
    """Errors of the harness itself."""

    async def run(self, seconds: float) -> None:
        """Makes faults for so long, and until every kind has happened; returns when all of them are over."""
        kinds, until_s, drawn = self._kinds(), time.monotonic() + seconds, Counter[str]()
        gap_s = min(self.gap_s, FIRST_ROUND_SHARE * seconds / len(kinds))
        first = True
        while first or time.monotonic() < until_s:
            for kind in self.random.sample(sorted(kinds), len(kinds)):
                if not first and time.monotonic() >= until_s:
                    break
                drawn[kind] += 1
                if kind in self.ALONE and drawn[kind] % 2:
                    await self._alone(kinds[kind])
                else:
                    self._start(kinds[kind])
                    await asyncio.sleep(gap_s * self.random.uniform(0.4, 1.6))
            first = False
        await self._all_over()

    def kinds(self) -> list[str]:
        return sorted(self._kinds())

    def _kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "kill worker": self._kill_worker,
            "pause worker past its lease": self._pause_worker,
            "drain worker": self._drain_worker,
            "rolling restart of all workers": self._roll_workers,
            "kill API": self._kill_api,
            "drain API": self._drain_api,
        }

    def _start(self, act: Callable[[], Awaitable[None]]) -> None:
        fault = asyncio.ensure_future(act())
        self._under_way.add(fault)
        fault.add_done_callback(self._over)

    def _over(self, fault: asyncio.Task[None]) -> None:
        self._under_way.discard(fault)
        if not fault.cancelled() and (error := fault.exception()):
            self._broken.append(error)

    async def _alone(self, act: Callable[[], Awaitable[None]]) -> None:
        await self._all_over()
        await asyncio.sleep(SETTLE_S)
        self._start(act)
        await asyncio.sleep(self.lease_s + 2 * SETTLE_S)
        await self._all_over()

    async def _all_over(self) -> None:
        await asyncio.gather(*self._under_way)
        if self._broken:
            raise self._broken[0]

    # --- processes

    async def _kill_worker(self) -> None:
        program = self._worker()
        async with program.lock:
            began_s, pid = time.time(), program.process.pid
            await program.kill()
            await asyncio.sleep(self.random.uniform(0, 1))
            await program.start()
            self._note("kill worker", program, began_s, pid)

    async def _pause_worker(self) -> None:
        program = self._worker()
        async with program.lock:
            began_s = time.time()
            program.pause()
            await asyncio.sleep(self.lease_s * self.random.uniform(1.2, 2.5))
            program.resume()
            self._note("pause worker past its lease", program, began_s)

    async def _drain_worker(self) -> None:
        program = self._worker()
        async with program.lock:
            await self._restart(program, "drain worker")

    async def _roll_workers(self) -> None:
        began_s = time.time()
        for program in self.house.workers:
            async with program.lock:
                await self._restart(program)
        self._note("rolling restart of all workers", self.house.workers[-1], began_s)

    async def _kill_api(self) -> None:
        async with self.house.api.lock:
            began_s, pid = time.time(), self.house.api.process.pid
            await self.house.api.kill()
            await self.house.api.start()
            self._note("kill API", self.house.api, began_s, pid)

    async def _drain_api(self) -> None:
        async with self.house.api.lock:
            await self._restart(self.house.api, "drain API")

    async def _restart(self, program: Program, kind: str = "") -> None:
        began_s, pid = time.time(), program.process.pid
        await program.stop()
        await program.start()
        if kind:
            self._note(kind, program, began_s, pid)

    # --- who, and what for the record

    def _worker(self) -> Program:
        """One under no fault; where there is none, any: its turn comes."""
        return self.random.choice([each for each in self.house.workers if not each.lock.locked()] or self.house.workers)

    def _away(self, began_s: float, back_s: float) -> None:
        self.redis_away.append((began_s, back_s))

    def _note(self, kind: str, program: Program, began_s: float, pid: int = 0) -> None:
        self._keep(Fault(kind, program.name, began_s, time.time(), pid or program.process.pid))

    def _keep(self, fault: Fault) -> None:
        self.made.append(fault)
        self.say(f"  {fault.kind}: {fault.target}, {fault.ended_s - fault.began_s:.1f} s")
