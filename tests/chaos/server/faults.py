"""What goes wrong with one Redis and the links to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.faults import Faults
from tests.chaos.program import Program
from tests.chaos.server.link import Link
from tests.chaos.server.server import OneServer


@dataclass(kw_only=True)
class ServerFaults(Faults):
    """With those of processes."""

    server: OneServer

    def _kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return super()._kinds() | {
            "kill Redis": self._kill_redis,
            "restart Redis": self._restart_redis,
            "pause Redis": self._pause_redis,
            "cut link": self._cut_link,
            "tear replies on link": self._tear_link,
            "slow link": self._slow_link,
            "stall link past the lease": self._stall_link,
        }

    async def _kill_redis(self) -> None:
        async with self.server.redis.lock:
            began_s, pid = time.time(), self.server.redis.process.pid
            await self.server.redis.kill()
            await asyncio.sleep(self.random.uniform(0, 2 * self.lease_s))
            await self.server.redis.start()
            self._away(began_s, await self.server.back())
            self._note("kill Redis", self.server.redis, began_s, pid)

    async def _restart_redis(self) -> None:
        async with self.server.redis.lock:
            began_s = time.time()
            await self._restart(self.server.redis)
            self._away(began_s, await self.server.back())
            self._note("restart Redis", self.server.redis, began_s)

    async def _pause_redis(self) -> None:
        async with self.server.redis.lock:
            began_s = time.time()
            self.server.redis.pause()
            await asyncio.sleep(self.random.uniform(0.3, 1.5 * self.lease_s))
            self.server.redis.resume()
            self._away(began_s, await self.server.back())
            self._note("pause Redis", self.server.redis, began_s)

    # --- links

    async def _cut_link(self) -> None:
        program, link = self._drawn()
        began_s = time.time()
        link.cut()
        self._note("cut link", program, began_s)

    async def _tear_link(self) -> None:
        program, link = self._drawn()
        async with program.lock:
            began_s = time.time()
            link.tear_share = 0.2
            await _heal_after(link, self.random.uniform(1, 2))
            self._note("tear replies on link", program, began_s)

    async def _slow_link(self) -> None:
        program, link = self._drawn()
        async with program.lock:
            began_s = time.time()
            link.delay_s, link.piece_s = self.random.uniform(0.01, 0.1), self.random.uniform(0, 0.02)
            await _heal_after(link, self.random.uniform(1, 2 * self.lease_s))
            self._note("slow link", program, began_s)

    async def _stall_link(self) -> None:
        """A peer that fell silent comes back with all it held, or with nothing, or is never heard of again."""
        program, link = self._drawn()
        async with program.lock:
            began_s = time.time()
            link.stall()
            await asyncio.sleep(self.lease_s * self.random.uniform(1.2, 2.5))
            self.random.choice([link.heal, link.cut, link.forget])()
            link.heal()
            self._note("stall link past the lease", program, began_s)

    def _drawn(self) -> tuple[Program, Link]:
        """A worker, and its link."""
        program = self._worker()
        return program, self.server.links[self.house.workers.index(program)]


async def _heal_after(link: Link, seconds: float) -> None:
    await asyncio.sleep(seconds)
    link.heal()
