"""What goes wrong, when, and to whom: drawn from a seed, so that a run can be had again.

Each round draws every kind once, in a new order. Faults overlap as they come, but every other kill of a worker is left
alone for a lease and a second, so that the recovery from it can be measured by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.chaos.house import House, Program, WorkerPlace

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
    """Makes faults in a house and keeps what it made."""

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
        kinds, until_s, kills = self._kinds(), time.monotonic() + seconds, 0
        gap_s = min(self.gap_s, FIRST_ROUND_SHARE * seconds / len(kinds))
        first = True
        while first or time.monotonic() < until_s:
            for kind in self.random.sample(sorted(kinds), len(kinds)):
                if not first and time.monotonic() >= until_s:
                    break
                kills += kind == "kill worker"
                if kind == "kill worker" and kills % 2:
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
            "kill Redis": self._kill_redis,
            "restart Redis": self._restart_redis,
            "pause Redis": self._pause_redis,
            "cut link": self._cut_link,
            "tear replies on link": self._tear_link,
            "slow link": self._slow_link,
            "stall link past the lease": self._stall_link,
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

    async def _all_over(self) -> None:
        await asyncio.gather(*self._under_way)
        if self._broken:
            raise self._broken[0]

    # --- processes

    async def _kill_worker(self) -> None:
        place = self._worker()
        async with place.program.lock:
            began_s, pid = time.time(), place.program.process.pid
            await place.program.kill()
            await asyncio.sleep(self.random.uniform(0, 1))
            await place.program.start()
            self._note("kill worker", place.program, began_s, pid)

    async def _pause_worker(self) -> None:
        program = self._worker().program
        async with program.lock:
            began_s = time.time()
            program.pause()
            await asyncio.sleep(self.lease_s * self.random.uniform(1.2, 2.5))
            program.resume()
            self._note("pause worker past its lease", program, began_s)

    async def _drain_worker(self) -> None:
        program = self._worker().program
        async with program.lock:
            await self._restart(program, "drain worker")

    async def _roll_workers(self) -> None:
        began_s = time.time()
        for place in self.house.workers:
            async with place.program.lock:
                await self._restart(place.program)
        self._note("rolling restart of all workers", self.house.workers[-1].program, began_s)

    async def _kill_api(self) -> None:
        async with self.house.api.lock:
            began_s, pid = time.time(), self.house.api.process.pid
            await self.house.api.kill()
            await self.house.api.start()
            self._note("kill API", self.house.api, began_s, pid)

    async def _drain_api(self) -> None:
        async with self.house.api.lock:
            await self._restart(self.house.api, "drain API")

    async def _kill_redis(self) -> None:
        async with self.house.redis.lock:
            began_s, pid = time.time(), self.house.redis.process.pid
            await self.house.redis.kill()
            await asyncio.sleep(self.random.uniform(0, 2 * self.lease_s))
            await self.house.redis.start()
            self._away(began_s, await self.house.redis_back())
            self._note("kill Redis", self.house.redis, began_s, pid)

    async def _restart_redis(self) -> None:
        async with self.house.redis.lock:
            began_s = time.time()
            await self._restart(self.house.redis)
            self._away(began_s, await self.house.redis_back())
            self._note("restart Redis", self.house.redis, began_s)

    async def _pause_redis(self) -> None:
        async with self.house.redis.lock:
            began_s = time.time()
            self.house.redis.pause()
            await asyncio.sleep(self.random.uniform(0.3, 1.5 * self.lease_s))
            self.house.redis.resume()
            self._away(began_s, await self.house.redis_back())
            self._note("pause Redis", self.house.redis, began_s)

    async def _restart(self, program: Program, kind: str = "") -> None:
        began_s, pid = time.time(), program.process.pid
        await program.stop()
        await program.start()
        if kind:
            self._note(kind, program, began_s, pid)

    # --- links

    async def _cut_link(self) -> None:
        place = self._worker()
        began_s = time.time()
        place.link.cut()
        self._note("cut link", place.program, began_s)

    async def _tear_link(self) -> None:
        place = self._worker()
        async with place.program.lock:
            began_s = time.time()
            place.link.tear_share = 0.2
            await self._heal_after(place, self.random.uniform(1, 2))
            self._note("tear replies on link", place.program, began_s)

    async def _slow_link(self) -> None:
        place = self._worker()
        async with place.program.lock:
            began_s = time.time()
            place.link.delay_s, place.link.piece_s = self.random.uniform(0.01, 0.1), self.random.uniform(0, 0.02)
            await self._heal_after(place, self.random.uniform(1, 2 * self.lease_s))
            self._note("slow link", place.program, began_s)

    async def _stall_link(self) -> None:
        """A peer that fell silent comes back with all it held, or with nothing, or is never heard of again."""
        place = self._worker()
        async with place.program.lock:
            began_s = time.time()
            place.link.stall()
            await asyncio.sleep(self.lease_s * self.random.uniform(1.2, 2.5))
            self.random.choice([place.link.heal, place.link.cut, place.link.forget])()
            place.link.heal()
            self._note("stall link past the lease", place.program, began_s)

    async def _heal_after(self, place: WorkerPlace, seconds: float) -> None:
        await asyncio.sleep(seconds)
        place.link.heal()

    # --- who, and what for the record

    def _worker(self) -> WorkerPlace:
        """One under no fault; where there is none, any: its turn comes."""
        places: Sequence[WorkerPlace] = [place for place in self.house.workers if not place.program.lock.locked()]
        return self.random.choice(places or self.house.workers)

    def _away(self, began_s: float, back_s: float) -> None:
        self.redis_away.append((began_s, back_s))

    def _note(self, kind: str, program: Program, began_s: float, pid: int = 0) -> None:
        fault = Fault(kind, program.name, began_s, time.time(), pid or program.process.pid)
        self.made.append(fault)
        self.say(f"  {kind}: {program.name}, {fault.ended_s - began_s:.1f} s")
