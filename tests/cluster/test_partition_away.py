"""A master that is away holds up the jobs of its own partition, and no others."""

from __future__ import annotations

import asyncio
import signal

import pytest

from errand import Client, QueueUnavailable
from errand.redis.cluster.partitions import Partitions
from errand.redis.cluster.tag import Tag
from settings import Settings
from tests.cluster.test_partitions import NUMBER, double, found, ids_in, settings, workers_of
from tests.redis_cluster import Cluster, Node
from tests.waiting import NEVER_S

__all__ = ["found", "settings"]


def away(cluster: Cluster, number: int) -> list[Node]:
    """The master of that partition and its replica, which do not answer from now on."""
    master = cluster.owner(Tag("errand", number).slot)
    roles = {node.server.port: node.says("ROLE") for node in cluster.nodes}
    nodes = [node for node in cluster.nodes if node is master or master.server.port in roles[node.server.port][:3]]
    assert len(nodes) == 2
    for node in nodes:
        cluster.freeze(node)
    return nodes


@pytest.mark.usefixtures("usual_limits")
async def test_a_partition_that_is_away_holds_up_no_other(
    cluster: Cluster, found: Partitions, settings: Settings, redis_url: str
) -> None:
    for node in cluster.nodes:
        node.says("CONFIG SET", "cluster-require-full-coverage", "no")
    async with Client(settings) as client, workers_of(found, settings, redis_url):
        ids = {number: ids_in(found, number, 4) for number in range(NUMBER)}
        kept = await double.options(job_id=ids[2][0], delay="1s").enqueue(number=1)
        gone = await asyncio.to_thread(away, cluster, 2)
        try:
            put = [await double.options(job_id=job_id).enqueue(number=2) for job_id in (*ids[0], *ids[1])]
            assert [await job.result(timeout_s=NEVER_S) for job in put] == [4] * 8
            with pytest.raises(QueueUnavailable):
                await double.options(job_id=ids[2][1]).enqueue(number=1)
        finally:
            for node in gone:
                node.server.signal(signal.SIGCONT)
            await asyncio.to_thread(cluster.thaw, gone[0])
        assert await client.job(kept.id, double).result(timeout_s=NEVER_S) == 2
    for node in cluster.nodes:
        node.says("CONFIG SET", "cluster-require-full-coverage", "yes")
