"""Which node has an installation's slot, as this process saw it last: connections that wait elsewhere are dropped.

A call that waits at a node that hangs, or that has lost the slot, would learn it by its time limit alone: a wait for
work or for changes after ten seconds and more.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from functools import cache

import structlog

from errand.redis.cluster.nodes import Address
from errand.redis.redis_py import Pool

log = structlog.get_logger("errand.redis")


class Owner:
    """The node that has one slot of one cluster, and the pools of this process that lead to it."""

    def __init__(self) -> None:
        self.address: Address | None = None
        self._seen: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _SeenByLoop] = weakref.WeakKeyDictionary()

    def note(self, address: Address, pool: Pool) -> None:
        """That pool has just connected to the node; if it is another one, the connections to the old one are dropped.

        So it is with pools of the same event loop; those of others find out in theirs.
        """
        before, self.address = self.address, address
        if before not in (None, address):
            log.info("another node of the cluster has the jobs now", node=f"{address[0]}:{address[1]}")
        loop = asyncio.get_running_loop()
        self._seen.setdefault(loop, _SeenByLoop()).note(address, pool)


class _SeenByLoop:
    """The same as far as the pools of one event loop go."""

    def __init__(self) -> None:
        self._address: Address | None = None
        self._pools: weakref.WeakSet[Pool] = weakref.WeakSet()
        self._dropping: set[asyncio.Task[None]] = set()

    def note(self, address: Address, pool: Pool) -> None:
        self._pools.add(pool)
        before, self._address = self._address, address
        if before in (None, address):
            return
        for other in list(self._pools):
            dropping = asyncio.create_task(other.drop_except(address))
            self._dropping.add(dropping)
            dropping.add_done_callback(self._dropping.discard)


@cache
def owner_of(nodes: Sequence[Address], slot: int) -> Owner:
    """The one of this process, for the cluster in which a URL names these nodes."""
    return Owner()
