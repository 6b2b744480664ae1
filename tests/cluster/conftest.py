"""One cluster for all of these tests: the clients and workers that they share with other tests are of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack

import pytest
from arq.connections import ArqRedis

from tests.redis.test_sentinel import client_of
from tests.redis_cluster import Cluster, redis_cluster

NAMES = ("errand", "errand.1", "errand.2")
"""Of the partitions' tags."""


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
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client_of(f"{cluster.url}/{name}")) for name in NAMES]
