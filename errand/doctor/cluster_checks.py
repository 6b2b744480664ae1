"""What may be wrong with a Redis Cluster: whether it serves its slots, and how safe the master with the jobs is."""

from __future__ import annotations

from errand.doctor.server_checks import Finding
from errand.redis.cluster.state import ClusterState
from errand.redis.server import ServerState

ALL_SLOTS = 16_384


def check_cluster(
    cluster: ClusterState | None, server: ServerState, *, jobs: str = "all jobs of this installation"
) -> list[Finding]:
    """`server`: the master that has these jobs. Nothing of a server that is in no cluster."""
    if cluster is None:
        return []
    where = f"{jobs} are in slot {cluster.slot}, on {cluster.node}"
    if not cluster.is_up:
        return [
            Finding(
                check="cluster",
                level="warning",
                found=f"the cluster is down: {cluster.slots_served} of {ALL_SLOTS} slots are served",
                risk="no job is accepted (503), and none runs; nothing is lost by that alone",
                fix="bring its masters back (redis-cli --cluster check HOST:PORT says which)",
            )
        ]
    if cluster.is_moving:
        return [
            Finding(
                check="cluster",
                level="warning",
                found=f"{where}, and on their way to another node",
                risk="until the slot has moved no job is accepted (503), and none runs; nothing is lost by that",
                fix="let the move go on to its end (redis-cli --cluster fix HOST:PORT, if it was interrupted)",
            )
        ]
    if server.info and not server.live_replicas:
        return [
            Finding(
                check="cluster",
                level="warning",
                found=f"{where}, which has no replica in step",
                risk="if that node fails, no other takes over: jobs wait until it is back",
                fix="give it a replica (redis-cli --cluster add-node … --cluster-slave)",
            )
        ]
    replicas = f", with {server.live_replicas} replica(s) in step" if server.info else ""
    return [Finding(check="cluster", found=f"{cluster.masters} masters; {where}{replicas}")]
