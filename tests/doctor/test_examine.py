"""The doctor at real servers, healthy ones and ones that are set up badly on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel
from structlog.testing import capture_logs

from errand.doctor import examine as doctor
from errand.doctor.examine import Installation, examine, examine_server, looking
from errand.doctor.server_checks import Finding
from errand.job.context import Context
from errand.job.job_type import job
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.wire import keys
from errand.wire.move_record import MoveRecord
from tests.conftest import running_worker
from tests.servers import MAKES, Server, all_but, client_of, replica_of, serving
from tests.waiting import eventually

HEALTHY = ("--appendonly", "yes")
HOUR_S = 3600
KNOWN = Installation(job_types=["known"], queues=["default", "cpu"], replicas=0, lease_s=10)


class Anything(BaseModel):
    model_config = {"extra": "allow"}


@job()
async def known(ctx: Context, args: Anything) -> None: ...


@pytest.fixture(params=MAKES)
def make(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def server(make: str) -> AsyncIterator[Server]:
    async with serving(make, *HEALTHY) as healthy:
        yield healthy


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[ArqRedis]:
    async with client_of(server) as client:
        yield client


async def findings_of(redis: ArqRedis, **asked: int) -> dict[str, Finding]:
    """Of the server, by check."""
    return {finding.check: finding for finding in await examine_server(redis, replicas=asked.get("replicas", 0))}


async def test_a_healthy_house_has_no_finding_above_ok(server: Server, redis: ArqRedis) -> None:
    async with running_worker(server.url, job_types=[known]):
        await Queue(redis, ended_ttl_s=60).enqueue("known", {}, delay_ms=60_000)

        async def fine() -> list[Finding] | None:
            findings = await examine([redis], KNOWN)  # at once the worker may not have sent its first heartbeat
            return findings if {finding.level for finding in findings} == {"ok"} else None

        findings = await eventually(fine)
    assert [finding.check for finding in findings] == [
        *("rights", "version", "eviction", "persistence", "memory", "round-trip", "clock", "job-types", "workers")
    ]


@pytest.mark.parametrize(
    ("policy", "lost"), [("allkeys-lru", "any job"), ("volatile-ttl", "leases"), ("allkeys-random", "any job")]
)
async def test_a_server_that_may_evict_jobs_is_found(redis: ArqRedis, policy: str, lost: str) -> None:
    await redis.config_set("maxmemory-policy", policy)
    finding = (await findings_of(redis))["eviction"]
    assert finding.level == "warning" and policy in finding.found
    assert lost in finding.risk and "`maxmemory-policy noeviction`" in finding.fix


@pytest.mark.parametrize(
    ("settings", "level", "found"),
    [
        ({"appendonly": "no"}, "warning", "nothing is written to disk"),
        ({"appendonly": "no", "save": "3600 1"}, "warning", "snapshots alone (save 3600 1)"),
        ({"appendfsync": "no"}, "warning", "appendfsync no"),
        ({"appendfsync": "everysec"}, "ok", "may lose the last second"),
        ({"appendfsync": "always"}, "ok", "on the disk when it is accepted"),
    ],
)
async def test_what_a_crash_would_cost_is_said(
    redis: ArqRedis, settings: dict[str, str], level: str, found: str
) -> None:
    for name, value in settings.items():
        await redis.config_set(name, value)
    finding = (await findings_of(redis))["persistence"]
    assert finding.level == level and found in finding.found
    assert bool(finding.risk and finding.fix) is (level == "warning")


@pytest.mark.parametrize("forbidden", [all_but("config"), ["--rename-command", "CONFIG", ""]])
async def test_where_config_is_forbidden_what_is_known_is_said(make: str, forbidden: list[str]) -> None:
    async with serving(make, *HEALTHY, *forbidden) as server, client_of(server) as client:
        findings = await findings_of(client)
        assert findings["persistence"].level == "note" and "is unknown" in findings["persistence"].found
        others = findings.keys() - {"persistence", "round-trip"}  # how long one takes is up to the machine
        assert {findings[check].level for check in others} == {"ok"}
    async with serving(make, *forbidden) as server, client_of(server) as client:
        finding = (await findings_of(client))["persistence"]
        assert finding.level == "warning" and "no append-only file" in finding.found


async def test_a_server_that_tells_nothing_is_said_to_tell_nothing(make: str) -> None:
    async with serving(make, *all_but("config", "info")) as server, client_of(server) as client:
        findings = await findings_of(client)
    assert {check: findings[check].level for check in ("version", "eviction", "persistence", "memory")} == {
        "version": "note",
        "eviction": "note",
        "persistence": "warning",
        "memory": "note",
    }


async def test_rights_that_are_missing_are_named(make: str) -> None:
    async with serving(make, *HEALTHY, *all_but("time")) as server, client_of(server) as client:
        (finding,) = await examine([client], KNOWN)
    assert (finding.check, finding.level) == ("rights", "warning")
    assert finding.found.endswith("ACL SETUSER … +time") and "docs/redis.md" in finding.fix


async def test_memory_that_runs_out_is_found(redis: ArqRedis) -> None:
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used * 1.1))
    finding = (await findings_of(redis))["memory"]
    assert finding.level == "warning" and "of maxmemory in use" in finding.found and "503" in finding.risk
    await redis.config_set("maxmemory", used * 10)
    assert (await findings_of(redis))["memory"].level == "ok"


@contextlib.asynccontextmanager
async def slow_way_to(server: Server, delay_s: float) -> AsyncIterator[str]:
    """The URL of a long line to the server: what goes through it takes `delay_s` each way."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(delay_s)
                writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(carry(reader, forth), carry(back, writer))

    line = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with line:
        yield f"redis://127.0.0.1:{line.sockets[0].getsockname()[1]}"


async def test_a_server_far_away_is_found(server: Server) -> None:
    async with slow_way_to(server, 0.01) as url, contextlib.aclosing(connect(url, reply_timeout_s=5)) as client:
        finding = (await findings_of(client))["round-trip"]
    assert finding.level == "warning" and "region" in finding.fix
    assert 20 <= float(finding.found.split()[-4]) < 200


@pytest.mark.parametrize(("off_s", "said"), [(90, "90.0 s ahead of"), (-90, "90.0 s behind"), (0.5, None)])
async def test_clocks_that_disagree_are_found(redis: ArqRedis, off_s: float, said: str | None) -> None:
    found = await examine_server(redis, replicas=0, clock=lambda: time.time() + off_s)
    (finding,) = [finding for finding in found if finding.check == "clock"]
    assert finding.level == ("warning" if said else "ok")
    assert said is None or (said in finding.found and "webhook" in finding.risk)


async def test_a_replica_instead_of_the_primary_is_found(make: str, server: Server) -> None:
    async with replica_of(server, make) as replica, client_of(replica) as client:
        finding = (await findings_of(client))["role"]
    assert finding.level == "warning" and f"replica of 127.0.0.1:{server.port}" in finding.found
    assert "REDIS_URL" in finding.fix


async def test_replicas_are_counted_against_those_asked(make: str, server: Server, redis: ArqRedis) -> None:
    assert (await findings_of(redis, replicas=1))["replicas"].level == "warning"
    assert "replicas" not in await findings_of(redis)
    async with replica_of(server, make):
        assert (await findings_of(redis, replicas=1))["replicas"].level == "ok"
        assert (await findings_of(redis))["replicas"].level == "note", "there, and not asked"
        few = (await findings_of(redis, replicas=2))["replicas"]
        assert few.level == "warning" and "REPLICAS asks for 2, and 1 are in step" in few.found


async def test_jobs_of_unknown_types_are_counted_in_a_bounded_sample(redis: ArqRedis) -> None:
    queue, cpu = Queue(redis, ended_ttl_s=60), Queue(redis, name="cpu", ended_ttl_s=60)
    await queue.enqueue_many("fax", [{"text": "ä" * 5000}] * 3)
    await queue.enqueue_many("known", [{}] * 5000)
    await cpu.enqueue_many("telex", [{}] * 2)
    await redis.zadd(queue.key, {"gone": 1, "pickled": 2})
    await redis.set(keys.body("pickled"), b"\x80\x04\x95")
    (finding,) = [finding for finding in await examine([redis], KNOWN) if finding.check == "job-types"]
    assert finding.level == "warning" and "JOB_PACKAGES" in finding.fix
    assert finding.found == ("101 jobs looked at: 6 of types unknown here: fax (3), telex (2), (unreadable) (1)"), (
        "a hundred of the long queue, one of which is gone, and the two of the short one"
    )


async def test_due_jobs_that_no_live_worker_serves_are_found(server: Server, redis: ArqRedis) -> None:
    await Queue(redis, name="cpu", ended_ttl_s=60).enqueue("known", {})
    await Queue(redis, ended_ttl_s=60).enqueue("known", {}, delay_ms=60_000)
    await redis.zadd(keys.workers(keys.queue("cpu")), {"killed-long-ago": 1})
    async with running_worker(server.url, job_types=[known]):

        async def found() -> list[Finding] | None:
            return [finding for finding in await examine([redis], KNOWN) if finding.check == "workers"]

        (finding,) = await eventually(found)
    assert finding.level == "warning" and finding.found == "no live worker serves: cpu (1 due)"
    assert "make run-worker" in finding.fix and "WORKER_QUEUES" in finding.fix


async def test_a_house_without_workers_and_a_paused_queue_are_noted(redis: ArqRedis) -> None:
    await Queue(redis, name="cpu", ended_ttl_s=60).pause()
    notes = {finding.check: finding.found for finding in await examine([redis], KNOWN) if finding.level == "note"}
    assert set(notes) == {"workers", "paused"} and "cpu" in notes["paused"]


async def test_a_server_that_is_not_there_is_said_to_be_away() -> None:
    async with contextlib.aclosing(connect("redis://127.0.0.1:1", reply_timeout_s=1)) as client:
        (finding,) = await examine([client], KNOWN)
    assert (finding.check, finding.level) == ("connection", "warning")
    assert "cannot be reached" in finding.found and "REDIS_URL" in finding.fix


async def test_a_wrong_password_is_named_as_such(make: str) -> None:
    async with serving(make, *HEALTHY) as server, client_of(server) as client:
        await client.config_set("requirepass", "open sesame")
        for url in (f"redis://:hunter2@127.0.0.1:{server.port}", server.url):
            async with contextlib.aclosing(connect(url, reply_timeout_s=5)) as stranger:
                (finding,) = await examine([stranger], KNOWN)
            assert "the user or the password" in finding.found and "hunter2" not in repr(finding)


async def test_a_silent_server_is_given_up_in_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIMIT_S", 0.3)
    async with client_of(server, reply_timeout_s=60) as client:
        server.freeze()
        (finding,) = await examine([client], KNOWN)
    assert "no answer within 0.3 s" in finding.found


async def test_what_answers_but_is_no_redis_is_no_crash() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, family=socket.AF_INET) as web:
        url = f"redis://127.0.0.1:{web.sockets[0].getsockname()[1]}"
        async with contextlib.aclosing(connect(url, reply_timeout_s=2)) as client:
            (finding,) = await examine([client], KNOWN)
    assert finding.check == "connection"


async def test_a_start_logs_what_is_wrong_and_waits_for_nothing(
    server: Server, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "SETTLE_S", 0.05)
    monkeypatch.setattr(doctor, "LIMIT_S", HOUR_S)
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    await Queue(redis, ended_ttl_s=60).enqueue("fax", {})
    with capture_logs() as lines:
        async with client_of(server, reply_timeout_s=HOUR_S) as patient:
            server.freeze()
            async with looking([patient], KNOWN):
                server.thaw()  # a start that waited for the silent server would not come here

                async def said() -> bool:
                    return {line.get("check") for line in lines} >= {"eviction", "job-types", "workers"}

                await eventually(said)
    checks = [line for line in lines if line.get("check", "round-trip") != "round-trip"]  # which is up to the machine
    assert {line["log_level"] for line in checks} == {"warning"} and len(checks) == 3
    assert all(line["fix"] and line["risk"] for line in checks)


async def test_a_start_that_ends_at_once_leaves_no_check_behind(redis: ArqRedis) -> None:
    async with looking([redis], KNOWN):
        pass
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_keys_that_another_program_has_written_over_are_named(redis: ArqRedis) -> None:
    await redis.set(keys.queue("cpu"), "x")
    await redis.set(keys.PARTITIONS, "x")
    findings = {finding.check: finding for finding in await examine([redis], KNOWN)}
    assert findings["keys"].found == (
        "another program has written over keys of Errand: errand:partitions is a string, not a zset, "
        "arq:queue:cpu is a string, not a zset"
    )
    assert await redis.get(keys.queue("cpu")) == b"x", "the doctor changes nothing"
    await redis.delete(keys.queue("cpu"), keys.PARTITIONS)
    put = await Queue(redis, ended_ttl_s=60).enqueue("known", {})
    await redis.delete(keys.body(put.job_id))
    await redis.lpush(keys.body(put.job_id), "x")  # type: ignore[misc]
    findings = {finding.check: finding for finding in await examine([redis], KNOWN)}
    assert findings["job-types"].found == "1 jobs looked at: 1 of types unknown here: (unreadable) (1)"


async def test_a_move_that_keeps_all_jobs_from_running_is_named(redis: ArqRedis) -> None:
    await redis.set(keys.MOVE, MoveRecord("a", "moved", "redis://new").dumps())
    found = {finding.check: finding.found for finding in await examine([redis], KNOWN)}
    assert found["move"] == "its jobs have been moved to redis://new: set REDIS_URL to that"
