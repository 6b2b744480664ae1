"""What goes wrong with a cluster: the master with the jobs is killed, hangs, hands over, or gives its slot away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from tests.chaos.cluster.failovers import Failover
from tests.chaos.cluster.moves import move
from tests.chaos.cluster.store import ClusterStore, in_thread
from tests.chaos.faults import Fault, Faults
from tests.redis_cluster import Node


@dataclass(kw_only=True)
class ClusterFaults(Faults):
    """With those of processes. One after the other: a cluster of one replica each stands one fault at a time."""

    KILL, HANG, HAND_OVER, MOVE = "kill master", "hang of master", "planned failover", "slot moves there and back"
    ALONE: ClassVar = (*Faults.ALONE, KILL, HANG, HAND_OVER)

    store: ClusterStore
    failovers: list[Failover] = field(default_factory=list)

    def _kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return super()._kinds() | {
            self.KILL: self._kill_master,
            self.HANG: self._hang_master,
            self.HAND_OVER: self._hand_over,
            self.MOVE: self._move_slot,
        }

    async def _kill_master(self) -> None:
        """It comes back as the replica of the one that has taken over."""
        async with self._fault_of_cluster(self.KILL) as (owner, slot):
            await self._failed_over(self.KILL, owner, slot, owner.server.kill)
            await asyncio.sleep(self.random.uniform(0, 2 * self.lease_s))
            await in_thread(self.store.cluster.restart, owner)

    async def _hang_master(self) -> None:
        async with self._fault_of_cluster(self.HANG) as (owner, slot):
            await self._failed_over(self.HANG, owner, slot, lambda: self.store.cluster.freeze(owner))
            await asyncio.sleep(self.random.uniform(0, self.lease_s))
            await in_thread(self.store.cluster.thaw, owner)

    async def _hand_over(self) -> None:
        """As before maintenance: the replica waits until it has all that the master has."""
        async with self._fault_of_cluster(self.HAND_OVER) as (owner, slot):
            replica = await in_thread(self.store.cluster.replica_of, owner)
            await self._failed_over(self.HAND_OVER, owner, slot, lambda: self.store.cluster.hand_over(replica, slot))

    async def _move_slot(self) -> None:
        async with self._fault_of_cluster(self.MOVE) as (owner, slot):
            target = self.random.choice([node for node in await in_thread(self.store.masters) if node is not owner])
            for to in (target, owner):
                began_s = time.time()
                await in_thread(move, self.store.cluster, slot, to)
                self._away(began_s, time.time())
                await asyncio.sleep(self.random.uniform(0, self.lease_s))

    async def _failed_over(self, kind: str, owner: Node, slot: int, act: Callable[[], object]) -> None:
        """Does it, and notes when another node has the slot."""
        hit = await in_thread(self.store.hit_with, owner)
        began_s = time.time()
        await in_thread(act)
        await in_thread(self.store.cluster.owner, slot, but=owner)
        detected_s = time.time()
        self._away(began_s, detected_s)
        self.failovers.append(Failover(kind, began_s, detected_s, hit))

    @asynccontextmanager
    async def _fault_of_cluster(self, kind: str) -> AsyncIterator[tuple[Node, int]]:
        """A slot with jobs, and the node that has it; the fault is over when all nodes are well."""
        async with self.store.lock:
            slot = self.random.choice(self.store.slots)
            owner = await in_thread(self.store.cluster.owner, slot)
            began_s = time.time()
            yield owner, slot
            await in_thread(self.store.cluster.becomes_well)
            self._keep(Fault(kind, "redis", began_s, time.time(), pid=0))
