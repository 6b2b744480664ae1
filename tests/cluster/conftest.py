"""One cluster for all of these tests: the clients and workers that they share with other tests are of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from arq.connections import ArqRedis

from errand.redis.cluster import partitions
from errand.redis.outage import REPLY_TIMEOUT_S
from tests.redis_cluster import Cluster, redis_cluster

PARTITIONS = 3


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def redis_url(cluster: Cluster) -> str:
    return cluster.url


@pytest.fixture
async def clients(cluster: Cluster) -> AsyncIterator[Sequence[ArqRedis]]:
    """Of three partitions, which lie on three masters, and are empty."""
    for node in cluster.nodes:
        if node.is_master:
            node.client.flushall()
    async with partitions.opened(cluster.url, number=PARTITIONS, reply_timeout_s=REPLY_TIMEOUT_S) as opened:
        yield opened.clients
