"""Where jobs lie if an installation has several partitions, and that one partition is what it was."""

from __future__ import annotations

from collections import Counter

import pytest
from arq.connections import ArqRedis

from errand.redis.cluster import partitions
from errand.redis.cluster.partitions import Partitions
from errand.redis.cluster.tag import Tag
from errand.settings import Settings
from errand.wire import keys
from errand.wire.job_id import new_job_ids


def clients(number: int) -> list[ArqRedis]:
    return [ArqRedis() for _ in range(number)]


def test_partition_0_is_where_an_installation_was_before_it_had_several() -> None:
    assert Tag("errand", 0).prefix == Tag("errand").prefix == "{errand}:"
    assert Tag("errand", 1).prefix.startswith("{errand/1.")


@pytest.mark.parametrize(("masters", "number"), [(3, 3), (3, 6), (9, 9)])
@pytest.mark.parametrize("installation", ["errand", "staging", "a", "mail-2"])
def test_partitions_lie_evenly_on_the_masters(installation: str, masters: int, number: int) -> None:
    of_masters = Counter(Tag(installation, partition).slot * masters // 16_384 for partition in range(number))
    assert len(of_masters) == masters and max(of_masters.values()) - min(of_masters.values()) <= 1


def test_new_ids_are_spread_evenly_and_each_has_its_place() -> None:
    found = Partitions(clients(3))
    of_partitions = Counter(found.number_of(job_id) for job_id in new_job_ids(3_000))
    assert len(of_partitions) == 3 and min(of_partitions.values()) > 900
    assert found.of("a") is found.clients[found.number_of("a")] is found.in_order("a")[0]
    assert set(found.in_order("a")) == set(found.clients)


def test_what_a_larger_number_has_left_is_looked_at_last_and_gets_no_new_jobs() -> None:
    found = Partitions(clients(3), number=1)
    assert {found.number_of(job_id) for job_id in new_job_ids(100)} == {0}
    assert found.in_order("a") == found.clients and len(found) == 3


async def test_outside_a_cluster_there_is_one() -> None:
    async with partitions.opened("redis://127.0.0.1:1", number=3, reply_timeout_s=1) as found:
        assert (len(found), found.number) == (1, 1)


def test_several_partitions_need_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_PARTITIONS", "3")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1")
    with pytest.raises(SystemExit, match="QUEUE_PARTITIONS: 3 partitions need a cluster"):
        Settings.read()
    monkeypatch.setenv("REDIS_URL", "redis+cluster://127.0.0.1")
    assert Settings.read().queue_partitions == 3


@pytest.mark.parametrize("score", [float("inf"), 1e9, -5])
async def test_a_number_that_another_program_has_written_makes_no_more_clients_than_there_may_be(
    redis: ArqRedis, score: float
) -> None:
    await redis.zadd(keys.PARTITIONS, {"largest": score, "number": score})
    await redis.zadd(keys.PARTITIONS, {b"\xff": 1})
    assert 1 <= await partitions.most_ever(redis) <= 64
    largest, _ = await partitions._noted(redis, 3)
    assert 3 <= largest <= 64
