"""The master with the jobs is killed, hangs, or gives its slot away, under load: nothing accepted is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from errand.doctor.cluster_checks import check_cluster
from errand.redis import script
from errand.redis.cluster.state import read_cluster
from errand.redis.cluster.tag import Tag
from errand.redis.outage import KeysAway, Outage
from errand.redis.server import read_server
from tests.conftest import running_worker
from tests.redis.test_sentinel import Load, counting
from tests.redis_cluster import Cluster, Node
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import holds

P = ParamSpec("P")
T = TypeVar("T")

SLOT = Tag("errand").slot


async def in_thread(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """A call that asks nodes; the producers and the worker go on meanwhile."""
    return await asyncio.to_thread(call, *args, **options)


async def accounted(client: ArqRedis, load: Load, ran: list[str]) -> dict[str, int]:
    """Waits until each accepted job has ended; how many were accepted, and how many ran more than once."""
    for job_id in load.replicated:
        assert (await ended(client, job_id)).status == "succeeded"
    assert set(load.replicated) <= set(ran)
    twice = [job_id for job_id, times in Counter(ran).items() if times > 1]
    return {"accepted": len(load.replicated), "refused": load.refused, "twice": len(twice)}


async def test_a_master_that_is_killed_takes_nothing_along_that_was_replicated(
    cluster: Cluster, redis: ArqRedis, redis_url: str
) -> None:
    ran: list[str] = []
    load, fallen = Load(redis_url), await in_thread(cluster.owner, SLOT)
    async with running_worker(redis_url, job_types=[counting(ran)], lease_s=2) as worker:
        async with load.produced_by(8):
            await eventually(holds(lambda: len(load.replicated) > 300))
            fallen.server.kill()
            # until the fallen one is back no replica takes what is accepted
            await eventually(holds(lambda: len(load.not_replicated) > 8))
            await in_thread(cluster.restart, fallen)
            so_far = len(load.replicated)
            await eventually(holds(lambda: len(load.replicated) > so_far + 100))
        await accounted(redis, load, ran)
        assert load.refused, "the master was gone for a while"
        assert worker.main_task is not None and not worker.main_task.done()


async def test_a_master_that_hangs_is_left_as_soon_as_another_has_its_slot(
    cluster: Cluster, redis: ArqRedis, redis_url: str
) -> None:
    ran: list[str] = []
    load, hung = Load(redis_url), await in_thread(cluster.owner, SLOT)
    async with running_worker(redis_url, job_types=[counting(ran)], lease_s=2):
        async with load.produced_by(8):
            await eventually(holds(lambda: len(load.replicated) > 300))
            with capture_logs() as logs:
                cluster.freeze(hung)
                await in_thread(cluster.owner, SLOT, but=hung)
                await eventually(holds(lambda: len(load.not_replicated) > 8))
            await in_thread(cluster.thaw, hung)
        await accounted(redis, load, ran)
    said = [line["event"] for line in logs]
    assert said.count("another node of the cluster has the jobs now") == 1


async def test_a_slot_that_moves_under_load_is_waited_for_and_no_job_runs_twice(
    cluster: Cluster, redis: ArqRedis, redis_url: str
) -> None:
    ran: list[str] = []
    load, source = Load(redis_url), await in_thread(cluster.owner, SLOT)
    target = next(node for node in cluster.nodes if node is not source and node.is_master)
    async with running_worker(redis_url, job_types=[counting(ran)], lease_s=2):
        async with load.produced_by(8):
            await eventually(holds(lambda: len(load.replicated) > 300))
            await in_thread(start_move, source, target)
            await eventually(holds(lambda: load.refused > 10))
            state = await read_cluster(redis)
            (finding,) = check_cluster(state, await read_server(redis))
            assert "on their way" in finding.found
            await in_thread(finish_move, cluster, source, target)
            so_far = len(load.replicated)
            await eventually(holds(lambda: len(load.replicated) > so_far + 300))
        counts = await accounted(redis, load, ran)
        assert counts["twice"] == 0
    assert (await in_thread(cluster.owner, SLOT)) is target


async def test_a_script_is_refused_as_a_whole_while_a_job_that_it_would_come_to_has_gone(
    cluster: Cluster, redis: ArqRedis
) -> None:
    await redis.mset({"errand:named": 1, "errand:found": 1})
    two_steps = script.register(
        redis, "redis.call('SET', KEYS[1], 2) return {redis.call('GET', KEYS[1]), redis.call('GET', 'errand:found')}"
    )
    source = await in_thread(cluster.owner, SLOT)
    target = next(node for node in cluster.nodes if node is not source and node.is_master)
    await in_thread(announce_move, source, target)
    await in_thread(migrate, source, target, ["{errand}:errand:found"])
    with pytest.raises(KeysAway):
        await two_steps(keys=["errand:named"])
    assert await redis.get("errand:named") == b"1"
    await in_thread(finish_move, cluster, source, target)
    assert await Outage().outlast(lambda: two_steps(keys=["errand:named"])) == [b"2", b"1"]


def start_move(source: Node, target: Node) -> None:
    """As `redis-cli --cluster reshard` does it; half of the keys have gone then."""
    announce_move(source, target)
    found = source.says("CLUSTER GETKEYSINSLOT", SLOT, 100_000)
    migrate(source, target, found[: len(found) // 2])


def announce_move(source: Node, target: Node, slot: int = SLOT) -> None:
    target.says("CLUSTER SETSLOT", slot, "IMPORTING", source.id)
    source.says("CLUSTER SETSLOT", slot, "MIGRATING", target.id)


def finish_move(cluster: Cluster, source: Node, target: Node) -> None:
    while found := source.says("CLUSTER GETKEYSINSLOT", SLOT, 1_000):
        migrate(source, target, found)
    for node in (target, source, *(node for node in cluster.nodes if node.is_master)):
        node.says("CLUSTER SETSLOT", SLOT, "NODE", target.id)


def migrate(source: Node, target: Node, names: Sequence[str]) -> None:
    if names:
        source.says("MIGRATE", "127.0.0.1", target.server.port, "", 0, 5000, "REPLACE", "KEYS", *names)
