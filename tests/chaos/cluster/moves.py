"""Moves a slot to another master under load, as an operator does who goes on after an error."""

from __future__ import annotations

from redis.exceptions import RedisError

from tests.cluster.test_moves import announce_move, migrate
from tests.redis_cluster import Cluster, Node
from tests.waiting import eventually_sync

AT_ONCE = 100
"""A master does nothing else while it sends keys: for all of them at once that would be longer than a node's time."""


def move(cluster: Cluster, slot: int, target: Node) -> None:
    """Returns when the target has the slot with all of its keys. Raises TimeoutError."""

    def moved() -> bool:
        try:
            source = next(node for node in cluster.nodes if node.is_master and node.has(slot))
            if source is not target:
                announce_move(source, target, slot)
                _send_all(cluster, slot, source, target)
            return target.has(slot)
        except (RedisError, OSError, StopIteration):
            return False

    eventually_sync(moved)


def _send_all(cluster: Cluster, slot: int, source: Node, target: Node) -> None:
    while found := source.says("CLUSTER GETKEYSINSLOT", slot, AT_ONCE):
        migrate(source, target, found)
    for node in (target, source, *(node for node in cluster.nodes if node.is_master)):
        node.says("CLUSTER SETSLOT", slot, "NODE", target.id)
