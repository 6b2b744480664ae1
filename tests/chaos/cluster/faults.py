"""What goes wrong with a cluster: the master with the jobs is killed, hangs, hands over, or gives its slot away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from tests.chaos.cluster.failovers import Failover
from tests.chaos.cluster.store import SLOT, ClusterStore, in_thread
from tests.chaos.faults import Fault, Faults
from tests.cluster.test_moves import finish_move, start_move
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
        async with self._fault_of_cluster(self.KILL) as owner:
            await self._failed_over(self.KILL, owner, owner.server.kill)
            await asyncio.sleep(self.random.uniform(0, 2 * self.lease_s))
            await in_thread(self.store.cluster.restart, owner)

    async def _hang_master(self) -> None:
        async with self._fault_of_cluster(self.HANG) as owner:
            await self._failed_over(self.HANG, owner, lambda: self.store.cluster.freeze(owner))
            await asyncio.sleep(self.random.uniform(0, self.lease_s))
            await in_thread(self.store.cluster.thaw, owner)

    async def _hand_over(self) -> None:
        """As before maintenance: the replica waits until it has all that the master has."""
        async with self._fault_of_cluster(self.HAND_OVER) as owner:
            replica = await in_thread(self.store.cluster.replica_of, owner)
            await self._failed_over(self.HAND_OVER, owner, lambda: replica.says("CLUSTER FAILOVER"))

    async def _move_slot(self) -> None:
        async with self._fault_of_cluster(self.MOVE) as owner:
            others = [node for node in self.store.cluster.nodes if node is not owner and await in_thread(_leads, node)]
            target = self.random.choice(others)
            await self._moved(owner, target)
            await asyncio.sleep(self.random.uniform(0, self.lease_s))
            await self._moved(target, owner)

    async def _moved(self, source: Node, target: Node) -> None:
        began_s = time.time()
        await in_thread(start_move, source, target)
        await in_thread(finish_move, self.store.cluster, source, target)
        self._away(began_s, time.time())

    async def _failed_over(self, kind: str, owner: Node, act: Callable[[], object]) -> None:
        """Does it, and notes when another node has the slot."""
        began_s = time.time()
        await in_thread(act)
        await in_thread(self.store.cluster.owner, SLOT, but=owner)
        detected_s = time.time()
        self._away(began_s, detected_s)
        self.failovers.append(Failover(kind, began_s, detected_s))

    @asynccontextmanager
    async def _fault_of_cluster(self, kind: str) -> AsyncIterator[Node]:
        """The node that has the slot; the fault is over when all nodes are well."""
        async with self.store.lock:
            owner = await in_thread(self.store.cluster.owner, SLOT)
            began_s = time.time()
            yield owner
            await in_thread(self.store.cluster.becomes_well)
            self._keep(Fault(kind, "redis", began_s, time.time(), pid=0))


def _leads(node: Node) -> bool:
    return node.is_master
