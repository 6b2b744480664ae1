"""What is decided of a server from its own words: versions old and foreign, replicas that lag, disks that fail."""

from __future__ import annotations

from typing import Any

import pytest

from errand.doctor.partition_checks import check_left, together
from errand.doctor.server_checks import (
    Finding,
    Timing,
    check_clock,
    check_disk,
    check_memory,
    check_persistence,
    check_replicas,
    check_version,
)
from errand.redis.server import ServerState

MIB = 1024 * 1024


def server(**info: Any) -> ServerState:
    return ServerState(info=info)


@pytest.mark.parametrize(
    ("info", "level", "found"),
    [
        ({"redis_version": "6.2.14"}, "warning", "Redis 6.2.14 is older than Redis 7.0"),
        ({"redis_version": "7.0.15"}, "ok", "Redis 7.0.15"),
        ({"redis_version": 7.2}, "ok", "Redis 7.2"),  # redis-py makes a number of what looks like one
        ({"redis_version": "10.1.0-rc1"}, "ok", "Redis 10.1.0-rc1"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "ok", "Valkey 9.1.2"),
        ({"redis_version": "7.4.0", "dragonfly_version": "df-v1.30.0"}, "note", "dragonfly df-v1.30.0: "),
        ({"redis_version": "six"}, "note", "does not say"),
        ({}, "note", "does not say"),
    ],
)
def test_versions_of_any_form_are_read(info: dict[str, Any], level: str, found: str) -> None:
    finding = check_version(server(**info))
    assert finding.level == level and found in finding.found


@pytest.mark.parametrize(
    ("replica", "level"),
    [
        ({"state": "online", "lag": 1}, "ok"),
        ({"state": "online"}, "ok"),
        ({"state": "online", "lag": 30}, "warning"),
        ({"state": "wait_bgsave", "lag": 0}, "warning"),
    ],
)
def test_a_replica_counts_while_it_is_in_step(replica: dict[str, Any], level: str) -> None:
    (finding,) = check_replicas(server(role="master", connected_slaves=1, slave0=replica), asked=1)
    assert finding.level == level
    assert level == "ok" or "1 not in step" in finding.found


def test_replicas_do_not_save_what_a_forgetful_primary_loses() -> None:
    forgetful = {"aof_enabled": 0}
    assert "replicas empty themselves" in check_persistence(server(**forgetful, slave0={"state": "online"})).risk
    assert "replicas" not in check_persistence(server(**forgetful)).risk


@pytest.mark.parametrize("field", ["aof_last_write_status", "rdb_last_bgsave_status"])
def test_a_disk_that_failed_is_found(field: str) -> None:
    (finding,) = check_disk(server(**{field: "err"}))
    assert finding.level == "warning" and "MISCONF" in finding.risk
    assert check_disk(server(**{field: "ok"})) == check_disk(server()) == []


@pytest.mark.parametrize(
    ("info", "level"),
    [
        ({"used_memory": 81 * MIB, "maxmemory": 100 * MIB}, "warning"),
        ({"used_memory": 79 * MIB, "maxmemory": 100 * MIB}, "ok"),
        ({"used_memory": 1, "used_memory_rss": 90 * MIB, "maxmemory": 0, "total_system_memory": 100 * MIB}, "warning"),
        ({"used_memory": 1, "maxmemory": 0, "total_system_memory": 100 * MIB}, "ok"),
        ({"used_memory": 1, "maxmemory": 0}, "note"),
    ],
)
def test_head_room_is_measured_against_the_limit_or_the_machine(info: dict[str, int], level: str) -> None:
    assert check_memory(server(**info)).level == level


@pytest.mark.parametrize(
    ("ahead_s", "round_trip_ms", "level"), [(1.2, 1, "warning"), (1.2, 1000, "ok"), (-5, 1, "warning")]
)
def test_a_clock_is_doubted_only_past_what_the_round_trip_leaves_open(
    ahead_s: float, round_trip_ms: float, level: str
) -> None:
    assert check_clock(Timing(round_trip_ms=round_trip_ms, ahead_s=ahead_s)).level == level


def test_what_is_true_of_all_partitions_is_said_once_and_the_rest_by_their_numbers() -> None:
    same, rare = Finding(check="a", found="fine"), Finding(check="b", level="warning", found="full")
    other = Finding(check="b", found="empty")
    assert together([[same, rare]]) == [same, rare]
    said = together([[same, other], [same, rare], [same, rare]])
    assert [finding.found for finding in said] == ["fine", "partition 0: empty", "partitions 1, 2: full"]


def test_partitions_that_get_no_new_jobs_are_named() -> None:
    assert check_left(3, asked=3) == [] and check_left(1, asked=1) == []
    (note,) = check_left(4, asked=2)
    assert (note.level, note.found.split(":")[0]) == ("note", "partitions 2, 3")
