"""A real Redis Cluster on loopback, of three masters and three replicas, to be failed over and resharded."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.waiting import eventually_sync

MASTERS = 3
SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000
"""A master that is silent for so long is replaced."""

GIVEN_UP_AFTER_S = 6
"""A replica that was asked to take over gives up after five seconds."""

OPTIONS = (
    "cluster-enabled yes",
    f"cluster-node-timeout {NODE_TIMEOUT_MS}",
    "cluster-replica-validity-factor 0",  # on a busy machine a replica's data may be seconds old
    "cluster-allow-replica-migration no",
    "repl-diskless-sync-delay 0",
    "enable-debug-command yes",
)


PATIENT = "cluster-node-timeout 600000"
"""For tests that have a server busy for seconds: no replica takes over."""


@dataclass
class Node:
    """One server of the cluster, and a client for what is asked of it alone."""

    server: RedisServer
    bus_port: int
    client: Redis = field(init=False)

    def __post_init__(self) -> None:
        self.client = Redis(port=self.server.port, decode_responses=True, socket_timeout=5)

    def says(self, command: str, *arguments: Any) -> Any:
        """The answer as Redis gives it: redis-py knows what to make of `CLUSTER INFO` by its two words as one."""
        return self.client.execute_command(*command.split(), *arguments)  # type: ignore[no-untyped-call]

    @property
    def id(self) -> str:
        return str(self.says("CLUSTER MYID"))

    @property
    def is_master(self) -> bool:
        return bool(self.says("ROLE")[0] == "master")

    def follows(self, master: Node) -> bool:
        role, *link = self.says("ROLE")
        return bool(role == "slave" and int(link[1]) == master.server.port)

    def has(self, slot: int) -> bool:
        """It is the slot's master by its own word."""
        own = next(line for line in self.says("CLUSTER NODES").splitlines() if "myself" in line)
        if "master" not in own:
            return False
        ranges = [part.split("-") for part in own.split()[8:] if not part.startswith("[")]
        return any(int(part[0]) <= slot <= int(part[-1]) for part in ranges)


@dataclass
class Cluster:
    nodes: Sequence[Node]
    login: str = ""
    query: str = ""
    scheme: str = "redis+cluster"

    @property
    def url(self) -> str:
        """It names three nodes of the six."""
        places = ",".join(node.server.place for node in self.nodes[::2])
        return f"{self.scheme}://{self.login}{places}{self.query}"

    def owner(self, slot: int, *, but: Node | None = None) -> Node:
        """The master of that slot, as soon as there is one; not the node `but`."""

        def look() -> Node | None:
            others = [node for node in self.nodes if node is not but]
            return next((node for node in others if _or_false(partial(node.has, slot))), None)

        return eventually_sync(look)

    def hand_over(self, replica: Node, slot: int) -> None:
        """The replica becomes the master of that slot. It is asked again: it gives up after five seconds."""
        asked_s = -math.inf

        def has_taken_over() -> bool:
            nonlocal asked_s
            if not _or_false(partial(replica.has, slot)) and time.monotonic() - asked_s > GIVEN_UP_AFTER_S:
                replica.says("CLUSTER FAILOVER")
                asked_s = time.monotonic()
            return _or_false(partial(replica.has, slot))

        eventually_sync(has_taken_over)

    def replica_of(self, master: Node) -> Node:
        """One that follows that master."""
        return next(node for node in self.nodes if node.follows(master))

    def is_well(self) -> bool:
        """Every node serves all slots, and every master has a replica in step."""
        return all(_or_false(partial(_is_well, node, len(self.nodes))) for node in self.nodes)

    def restart(self, node: Node) -> None:
        """Starts a node that was killed; returns when it follows the one that has taken over."""
        node.server.start()
        self.becomes_well()

    def freeze(self, node: Node) -> None:
        """It keeps its connections and says nothing more."""
        node.server.signal(signal.SIGSTOP)

    def thaw(self, node: Node) -> None:
        node.server.signal(signal.SIGCONT)
        self.becomes_well()

    def becomes_well(self) -> None:
        """Returns as soon as it is. Raises TimeoutError."""
        eventually_sync(self.is_well)


def _or_false(look: Callable[[], bool]) -> bool:
    try:
        return look()
    except (RedisError, OSError):
        return False


def _is_well(node: Node, nodes: int) -> bool:
    info: dict[str, Any] = node.client.info("replication")  # type: ignore[assignment]  # redis-py: async or not
    state = dict(line.split(":") for line in node.says("CLUSTER INFO").split())
    known = (state["cluster_state"], state["cluster_slots_ok"], state["cluster_known_nodes"])
    if known != ("ok", str(SLOTS), str(nodes)):
        return False
    if info["role"] == "master":
        return bool(info["connected_slaves"] == 1 and info.get("slave0", {}).get("state") == "online")
    return bool(info["master_link_status"] == "up")


def apart(redis_url: str, number: int) -> str:
    """The same server apart from other tests: another database of it, or another installation in a cluster."""
    return f"{redis_url}/apart-{number}" if "+cluster" in redis_url else f"{redis_url}?db={number}"


@contextmanager
def redis_cluster(folder: Path, *options: str, program: str = "") -> Iterator[Cluster]:
    """Six servers that know each other; `options` are lines of each one's configuration.

    `program`: the path of the server, if it should be another one than usual.
    """
    with ExitStack() as stack:
        nodes = []
        for number in range(2 * MASTERS):
            bus_port = free_port()
            server = RedisServer(folder / f"node-{number}", [*OPTIONS, f"cluster-port {bus_port}", *options])
            server.program = program
            stack.enter_context(server.running())
            nodes.append(Node(server, bus_port))
        cluster = Cluster(nodes)
        _join(nodes)
        eventually_sync(cluster.is_well)
        yield cluster


def _join(nodes: Sequence[Node]) -> None:
    masters, replicas = nodes[:MASTERS], nodes[MASTERS:]
    for epoch, node in enumerate(nodes, 1):
        eventually_sync(partial(_or_false, partial(node.says, "PING")))
        node.says("CLUSTER SET-CONFIG-EPOCH", epoch)
    for number, master in enumerate(masters):
        first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
        master.says("CLUSTER ADDSLOTSRANGE", first, last)
    for node in nodes[1:]:
        nodes[0].says("CLUSTER MEET", "127.0.0.1", node.server.port, node.bus_port)
    for master, replica in zip(masters, replicas, strict=True):
        eventually_sync(partial(_or_false, partial(_replicates, replica, master)))


def _replicates(replica: Node, master: Node) -> bool:
    """Refused until the replica has heard of its master."""
    return bool(replica.says("CLUSTER REPLICATE", master.id))
