"""One cluster for all of these tests: the clients and workers that they share with other tests are of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_cluster import Cluster, redis_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def redis_url(cluster: Cluster) -> str:
    return cluster.url
