"""What may be wrong with a Redis server, decided from what it says of itself: plain words, and what fixes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from errand.redis.server import SILENT_REPLICA_S, ServerState

Level = Literal["ok", "note", "warning"]


OLDEST_VERSION = (7, 0)


ROUND_TRIP_LIMIT_MS = 10.0
"""Within one data centre a round trip takes well under a millisecond, between the zones of a region one or two."""


SKEW_LIMIT_S = 1.0


FULL = 0.8
"""From this part on memory counts as nearly full; rewriting the append-only file needs room as well."""


TURN_ON_AOF = "redis.conf: `appendonly yes` and `appendfsync everysec`; of a managed service: AOF persistence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. A warning is what may lose, repeat or hold up jobs; a note is only worth knowing."""

    check: str
    level: Level = "ok"
    found: str
    risk: str = ""
    """What could be lost or go wrong."""
    fix: str = ""
    """The setting or the action that fixes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a round trip takes (the median of some), and how far the server's clock is ahead of this machine's.

    `ahead_s` is known as exactly as half of a round trip.
    """

    round_trip_ms: float
    ahead_s: float


def check_server(server: ServerState, timing: Timing, *, replicas: int) -> list[Finding]:
    """A finding of each check; `replicas` are asked for by the setting of that name."""
    return [
        check_version(server),
        *check_role(server),
        check_eviction(server),
        check_persistence(server),
        *check_disk(server),
        check_memory(server),
        check_round_trip(timing),
        check_clock(timing),
        *check_replicas(server, asked=replicas),
    ]


def check_version(server: ServerState) -> Finding:
    """Scripts and commands need Redis 7.0, or a server that is compatible with it."""
    compatible, name = server.compatible_with, f"{server.product} {server.version}".strip()
    if compatible is None:
        return Finding(check="version", level="note", found="the server does not say its version: INFO is forbidden")
    if compatible < OLDEST_VERSION:
        return Finding(
            check="version",
            level="warning",
            found=f"{name} is older than Redis {'.'.join(map(str, OLDEST_VERSION))}",
            risk="commands that Errand needs may be missing: jobs are refused, or do not run",
            fix="upgrade the server to Redis 7.0 or newer, or to Valkey",
        )
    if server.product not in ("Redis", "Valkey"):
        return Finding(check="version", level="note", found=f"{name}: Errand is tested with Redis and Valkey alone")
    return Finding(check="version", found=name)


def check_role(server: ServerState) -> list[Finding]:
    """Only a primary takes jobs."""
    if server.info.get("role") != "slave":
        return []
    primary = f"{server.info.get('master_host')}:{server.info.get('master_port')}"
    return [
        Finding(
            check="role",
            level="warning",
            found=f"this server is a replica of {primary}",
            risk="it refuses every write: no job is accepted, and none runs",
            fix="let REDIS_URL name the primary",
        )
    ]


def check_eviction(server: ServerState) -> Finding:
    """A server that drops keys to make room drops jobs."""
    policy = server.info.get("maxmemory_policy")
    if policy is None:
        return Finding(check="eviction", level="note", found="the server does not say its maxmemory-policy")
    if policy == "noeviction":
        return Finding(check="eviction", found="maxmemory-policy noeviction: nothing is dropped to make room")
    losses = {
        "allkeys": "any job, waiting or ended, without a trace, once memory is short",
        "volatile": "outcomes, and the leases of running jobs, which then run twice, once memory is short",
    }
    return Finding(
        check="eviction",
        level="warning",
        found=f"maxmemory-policy {policy}: keys are dropped when maxmemory is reached",
        risk=losses.get(policy.partition("-")[0], losses["allkeys"]),
        fix="redis.conf: `maxmemory-policy noeviction`; of a managed service: the parameter of that name",
    )


def check_persistence(server: ServerState) -> Finding:
    """What a crash of the server or a power cut would cost."""
    if not server.aof:
        return _without_aof(server)
    if server.fsync == "no":
        return Finding(
            check="persistence",
            level="warning",
            found="append-only file with appendfsync no: the kernel decides when it reaches the disk",
            risk="in a power cut what was accepted in the last half minute or so",
            fix="redis.conf: `appendfsync everysec`, or `always`",
        )
    if server.fsync is None:
        return Finding(
            check="persistence",
            level="note",
            found="append-only file; how often it reaches the disk is unknown (CONFIG is forbidden)",
            risk="in a power cut the last second, if appendfsync is Redis' default, everysec",
        )
    costs = {
        "everysec": "a power cut may lose the last second",
        "always": "each job is on the disk when it is accepted",
    }
    return Finding(
        check="persistence",
        found=f"append-only file, appendfsync {server.fsync}: a crash loses nothing, {costs[server.fsync]}",
    )


def _without_aof(server: ServerState) -> Finding:
    if server.aof is None:
        return Finding(
            check="persistence",
            level="warning",
            found="the server does not say whether it writes anything to disk (INFO and CONFIG are forbidden)",
            risk="every job that has not ended, at its next restart, if it does not",
            fix=TURN_ON_AOF,
        )
    if "save" not in server.config:
        found, risk = "no append-only file; whether snapshots are made is unknown", "at its next crash or restart"
    elif server.config["save"]:
        found = f"snapshots alone (save {server.config['save']})"
        changes = server.info.get("rdb_changes_since_last_save", 0)
        risk = f"in a crash or power cut, and that since the last snapshot ({changes} changes by now)"
    else:
        found, risk = "nothing is written to disk: no append-only file, no snapshots", "at its next crash or restart"
    return Finding(
        check="persistence",
        level="warning",
        found=found,
        risk=f"everything accepted, also what waits or has ended, {risk}"
        + ("; its replicas empty themselves after it if it restarts before a failover" if server.replicas else ""),
        fix=TURN_ON_AOF,
    )


def check_disk(server: ServerState) -> list[Finding]:
    """Writes to the disk that failed; a server that cannot save refuses what is new."""
    failed = [
        name
        for name, field in (("append-only file", "aof_last_write_status"), ("snapshot", "rdb_last_bgsave_status"))
        if server.info.get(field, "ok") != "ok"
    ]
    if not failed:
        return []
    return [
        Finding(
            check="disk",
            level="warning",
            found=f"the server's last write of its {' and its '.join(failed)} failed",
            risk="what was accepted since, in a crash; new jobs are refused meanwhile (MISCONF)",
            fix="make room on the server's disk, or fix its rights; its log says why",
        )
    ]


def check_memory(server: ServerState) -> Finding:
    """A server without room refuses jobs, or is killed by the kernel."""
    used, limit = server.info.get("used_memory"), server.info.get("maxmemory") or 0
    machine = server.info.get("total_system_memory") or 0
    if used is None or not (limit or machine):
        return Finding(check="memory", level="note", found="the server does not say how much memory it has")
    resident = max(used, server.info.get("used_memory_rss", 0))
    part, words = (used / limit, "maxmemory") if limit else (resident / machine, "the machine's memory")
    share = f"{part:.0%} of {words} in use ({_mib(used if limit else resident)} of {_mib(limit or machine)} MiB)"
    if part < FULL:
        return Finding(check="memory", found=share)
    return Finding(
        check="memory",
        level="warning",
        found=share,
        risk="no new jobs are accepted once it is full (503)" if limit else "the kernel may kill the server",
        fix="more memory (redis.conf: `maxmemory`), or keep ended jobs for less time: RESULT_TTL_S, DEAD_TTL_S",
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:.1f}"


def check_round_trip(timing: Timing) -> Finding:
    """Each enqueue and each claim takes one."""
    found = f"a round trip to Redis takes {timing.round_trip_ms:.1f} ms"
    if timing.round_trip_ms <= ROUND_TRIP_LIMIT_MS:
        return Finding(check="round-trip", found=found)
    return Finding(
        check="round-trip",
        level="warning",
        found=f"{found}, over {ROUND_TRIP_LIMIT_MS:.0f}",
        risk="nothing is lost; each enqueue, each claim and each outcome takes so much longer",
        fix="run API, workers and Redis in one region; look whether the server or the network is busy",
    )


def check_clock(timing: Timing) -> Finding:
    """Due times and leases are by the server's clock; what this machine stamps is by its own."""
    if abs(timing.ahead_s) - timing.round_trip_ms / 2000 <= SKEW_LIMIT_S:
        return Finding(check="clock", found=f"this machine and the server agree within {SKEW_LIMIT_S:g} s")
    direction = "behind" if timing.ahead_s > 0 else "ahead of"
    return Finding(
        check="clock",
        level="warning",
        found=f"this machine's clock is {abs(timing.ahead_s):.1f} s {direction} the server's",
        risk="jobs stay due at the right time by the server's clock; `enqueued_at`, attempts' times, latencies and "
        "webhook timestamps are wrong by as much, and receivers refuse webhooks that are minutes off",
        fix="set both clocks by NTP (chrony, systemd-timesyncd)",
    )


def check_replicas(server: ServerState, *, asked: int) -> list[Finding]:
    """As many replicas in step as REPLICAS asks for."""
    live, known = server.live_replicas, len(server.replicas)
    if not server.info or (not asked and not known):
        return []
    if live < asked:
        lagging = f", {known - live} not in step" if known > live else ""
        return [
            Finding(
                check="replicas",
                level="warning",
                found=f"REPLICAS asks for {asked}, and {live} are in step (within {SILENT_REPLICA_S} s){lagging}",
                risk="jobs are accepted all the same, and their `durability` says the less that is true; what no "
                "replica has is lost with the primary",
                fix="connect the replicas again (redis.conf of each: `replicaof`), or lower REPLICAS; "
                "`min-replicas-to-write` has the primary refuse such jobs instead",
            )
        ]
    if not asked:
        hint = f"REPLICAS={known} would have each job wait for them"
        return [Finding(check="replicas", level="note", found=f"{known} connected, and not asked: {hint}")]
    return [Finding(check="replicas", found=f"{live} in step, {asked} asked")]
