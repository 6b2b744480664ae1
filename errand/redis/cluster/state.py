"""What the node that has an installation's jobs says of its cluster, in one round trip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from errand.redis.cluster.pool import ClusterPool
from errand.redis.redis_py import unread_pipeline

FULL_COVERAGE = "cluster-require-full-coverage"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """A cluster as one node sees it. What the node may not say is as in a cluster that is well."""

    slot: int
    node: str
    """Host and port of the master that has the slot."""
    masters: int
    slots_served: int
    is_up: bool
    is_moving: bool
    """The slot is on its way to another node."""


async def read_cluster(redis: Redis) -> ClusterState | None:
    """The cluster behind that client; None if there is none. Raises redis' errors if the node is away."""
    pool = redis.connection_pool
    if not isinstance(pool, ClusterPool):
        return None
    async with unread_pipeline(redis) as pipeline:
        pipeline.execute_command("CLUSTER INFO")
        pipeline.execute_command("CLUSTER NODES")
        info, nodes = map(_text, await pipeline.execute(raise_on_error=False))
    said = dict(line.partition(":")[::2] for line in info.split())
    own = next((line for line in nodes.splitlines() if "myself" in line), "- -")
    return ClusterState(
        slot=pool.tag.slot,
        node=own.split()[1].partition("@")[0],
        masters=int(said.get("cluster_size", 0)),
        slots_served=int(said.get("cluster_slots_ok", 0)),
        is_up=said.get("cluster_state", "ok") == "ok",
        is_moving=f"[{pool.tag.slot}->-" in own,
    )


async def refuses_all_in_a_failover(redis: Redis) -> bool:
    """Its nodes refuse every slot while one of them has no master; False if it may not say so (CONFIG is forbidden).

    Raises redis' errors if the node is away.
    """
    try:
        answer = await redis.config_get(FULL_COVERAGE)
    except ResponseError:
        return False
    return bool(answer.get(FULL_COVERAGE) == "yes")


def _text(answer: Any) -> str:
    return answer.decode() if isinstance(answer, bytes) else ""
