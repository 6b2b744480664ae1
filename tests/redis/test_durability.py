"""What an accepted job's receipt says is what the server really does, with real servers of either make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from errand.queue.new_job import NewJob
from errand.queue.queue import Queue
from errand.queue.together import enqueue_together
from errand.redis import durability
from errand.redis.durability import Durability, grade_of
from errand.redis.outage import is_outage
from errand.redis.server import ServerState, read_server
from errand.wire import keys
from tests.servers import MAKES, Server, all_but, client_of, replica_of, serving
from tests.waiting import eventually

NO_CONFIG_BY_ACL = all_but("config")
AOF = ("--appendonly", "yes")

PATIENT_MS = 30_000
"""As long as a busy machine takes: a replica that has just come acknowledges late."""


@pytest.fixture(params=MAKES)
def make(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def primary(make: str) -> AsyncIterator[Server]:
    async with serving(make) as server:
        yield server


@pytest.fixture
async def redis(primary: Server) -> AsyncIterator[ArqRedis]:
    async with client_of(primary, reply_timeout_s=PATIENT_MS / 1000) as client:
        yield client


def queue_of(redis: ArqRedis, *, replicas: int = 0, timeout_ms: int = PATIENT_MS) -> Queue:
    durability = Durability(redis, replicas=replicas, timeout_ms=timeout_ms)
    return Queue(redis, ended_ttl_s=60, deadline_s=PATIENT_MS / 1000, durability=durability)


async def calls(redis: ArqRedis, command: str) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.parametrize(
    ("options", "grade"),
    [
        ((), "memory"),
        (("--save", "60 1"), "memory"),
        ((*AOF, "--appendfsync", "no"), "memory"),
        (AOF, "fsync-everysec"),
        ((*AOF, "--appendfsync", "always"), "fsync-always"),
    ],
)
async def test_the_grade_is_what_the_server_is_set_to(make: str, options: tuple[str, ...], grade: str) -> None:
    async with serving(make, *options) as server, client_of(server) as client:
        kept = Durability(client)
        async with kept.watched():
            put = await Queue(client, ended_ttl_s=60, durability=kept).enqueue("any", {})
            many = await Queue(client, ended_ttl_s=60, durability=kept).enqueue_many("any", [{}, {}])
    assert [one.durability for one in (put, *many)] == [grade] * 3


@pytest.mark.parametrize("forbidden", [NO_CONFIG_BY_ACL, ("--rename-command", "CONFIG", "")])
@pytest.mark.parametrize(("appendonly", "grade"), [("no", "memory"), ("yes", "fsync-everysec")])
async def test_where_config_is_forbidden_it_is_what_info_tells(
    make: str, forbidden: tuple[str, ...], appendonly: str, grade: str
) -> None:
    options = ("--appendonly", appendonly, "--appendfsync", "always", *forbidden)
    async with serving(make, *options) as server, client_of(server) as client:
        state = await read_server(client)
        assert state.fsync is None and state.info
        assert grade_of(state) == grade


async def test_a_server_that_tells_nothing_stands_for_nothing(make: str) -> None:
    options = (*AOF, *all_but("config", "info"))
    async with serving(make, *options) as server, client_of(server) as client:
        assert await read_server(client) == ServerState()
        kept = Durability(client)
        async with kept.watched():
            assert kept.grade == "memory"


async def test_a_change_at_the_server_is_seen_by_itself(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "READ_EVERY_S", 0.02)
    kept = Durability(redis)

    async def says(grade: str) -> None:
        async def look() -> bool:
            return kept.grade == grade

        await eventually(look)

    async with kept.watched():
        assert kept.grade == "memory"
        await redis.config_set("appendonly", "yes")
        await says("fsync-everysec")
        await redis.config_set("appendfsync", "always")
        await says("fsync-always")


async def test_after_an_outage_nothing_is_claimed_until_the_server_has_been_read(make: str) -> None:
    """What comes back may be another server, or the same one with other settings."""
    async with serving(make, *AOF) as server, client_of(server, reply_timeout_s=0.3) as client:
        kept = Durability(client)
        async with kept.watched():
            queue = Queue(client, ended_ttl_s=60, deadline_s=0.5, durability=kept)
            assert (await queue.enqueue("any", {})).durability == "fsync-everysec"
            server.freeze()
            with pytest.raises(RedisError):
                await queue.enqueue("any", {})
            assert kept.grade == "memory"
            server.thaw()

            async def read_again() -> bool:
                return kept.grade == "fsync-everysec"

            await eventually(read_again)


async def test_a_watch_can_begin_and_end_while_redis_is_away(primary: Server) -> None:
    async with client_of(primary) as client:
        primary.kill()
        kept = Durability(client, replicas=1)
        async with kept.watched():
            assert kept.grade == "memory"


async def test_without_replicas_asked_none_is_waited_for(primary: Server, make: str, redis: ArqRedis) -> None:
    async with replica_of(primary, make):
        before = await calls(redis, "wait")
        assert (await queue_of(redis).enqueue("any", {})).durability == "memory"
        assert await calls(redis, "wait") == before


async def test_what_a_replica_has_is_replicated(primary: Server, make: str, redis: ArqRedis) -> None:
    async with replica_of(primary, make) as replica, client_of(replica) as other:
        for put in (
            await queue_of(redis, replicas=1).enqueue("any", {}),
            *await queue_of(redis, replicas=1).enqueue_many("any", [{}] * 3),
        ):
            assert put.durability == "replicated"
            assert await other.exists(keys.body(put.job_id)), "it was there before the answer"


async def test_jobs_of_several_queues_are_waited_for_once(primary: Server, make: str, redis: ArqRedis) -> None:
    async with replica_of(primary, make) as replica, client_of(replica) as other:
        kept, before = Durability(redis, replicas=1, timeout_ms=PATIENT_MS), await calls(redis, "wait")
        queues = [Queue(redis, name=name, ended_ttl_s=60, durability=kept) for name in ("default", "cpu")]
        jobs = [(queue, NewJob(type_name="any", args={}, job_id=queue.name)) for queue in queues]
        put = await enqueue_together(jobs)
        assert [one and one.durability for one in put] == ["replicated", "replicated"]
        assert await other.exists(keys.body("default"), keys.body("cpu")) == 2, "they were there before the answer"
        assert await calls(redis, "wait") - before == 1


async def test_nothing_that_was_replicated_is_lost_with_its_primary(
    primary: Server, make: str, redis: ArqRedis
) -> None:
    async with replica_of(primary, make) as replica, client_of(replica) as other:
        queue, kept = queue_of(redis, replicas=1), []

        async def put_on() -> None:
            while True:
                put = await queue.enqueue("any", {})
                if put.durability == "replicated":
                    kept.append(put.job_id)

        putting = [asyncio.create_task(put_on()) for _ in range(20)]

        async def some() -> bool:
            return len(kept) > 500

        await eventually(some)
        primary.kill()
        await asyncio.gather(*putting, return_exceptions=True)
        await other.replicaof("NO", "ONE")
        assert await other.exists(*map(keys.body, kept)) == len(kept)


async def test_the_wait_costs_no_round_trip_of_its_own(primary: Server, make: str, redis: ArqRedis) -> None:
    async def reads_of(queue: Queue) -> int:
        """How often the server reads from its clients for one enqueue and one INFO."""
        await queue.enqueue("any", {})
        before = int((await redis.info("stats"))["total_reads_processed"])
        await queue.enqueue("any", {})
        return int((await redis.info("stats"))["total_reads_processed"]) - before

    async with replica_of(primary, make) as replica:
        replica.freeze()  # its own acknowledgements are reads as well
        asked = queue_of(redis, replicas=1, timeout_ms=1)
        assert await reads_of(asked) == await reads_of(queue_of(redis)) == 2


async def test_one_wait_stands_for_all_that_go_together(primary: Server, make: str, redis: ArqRedis) -> None:
    async with replica_of(primary, make):
        queue = queue_of(redis, replicas=1)
        await queue.enqueue("any", {})
        before = await calls(redis, "wait")
        put = await asyncio.gather(*(queue.enqueue("any", {}) for _ in range(500)))
        assert {one.durability for one in put} == {"replicated"}
        assert await calls(redis, "wait") - before <= 2


async def test_a_replica_that_hangs_makes_the_answer_weaker_and_is_said_once(
    primary: Server, make: str, redis: ArqRedis
) -> None:
    await redis.config_set("appendonly", "yes")
    async with replica_of(primary, make) as replica:
        kept = Durability(redis, replicas=1, timeout_ms=500)
        queue = Queue(redis, ended_ttl_s=60, durability=kept)
        async with kept.watched():
            with capture_logs() as lines:
                replica.freeze()
                assert [(await queue.enqueue("any", {})).durability for _ in range(2)] == ["fsync-everysec"] * 2
                replica.thaw()

                async def replicated() -> bool:
                    return (await queue.enqueue("any", {})).durability == "replicated"

                await eventually(replicated)
                await queue.enqueue("any", {})
    said = [(line["log_level"], line["asked"], line.get("have")) for line in lines]
    assert said == [("warning", 1, 0), ("info", 1, None)]


async def test_replicas_that_are_not_there_are_not_waited_for(redis: ArqRedis) -> None:
    kept = Durability(redis, replicas=1, timeout_ms=3_600_000)
    async with kept.watched():
        with capture_logs() as lines:
            put = await Queue(redis, ended_ttl_s=60, durability=kept).enqueue("any", {})
        assert put.durability == "memory"
        assert lines == [], "said when it was seen, at the start"


async def test_fewer_replicas_than_asked_are_not_enough(primary: Server, make: str, redis: ArqRedis) -> None:
    async with replica_of(primary, make):
        assert (await queue_of(redis, replicas=2, timeout_ms=50).enqueue("any", {})).durability == "memory"


async def test_a_primary_that_is_deposed_in_the_middle_claims_nothing(
    primary: Server, make: str, redis: ArqRedis
) -> None:
    async with replica_of(primary, make) as replica, client_of(primary) as other:
        replica.freeze()
        putting = asyncio.create_task(queue_of(redis, replicas=1, timeout_ms=4000).enqueue("any", {}))

        async def blocked() -> bool:
            return int((await other.info("clients"))["blocked_clients"]) == 1

        await eventually(blocked)
        await other.replicaof("127.0.0.1", "1")
        with pytest.raises(RedisError) as raised:
            await putting
        assert is_outage(raised.value), "503, and the client asks again"


async def test_a_user_without_the_right_to_wait_is_named_in_the_log_and_jobs_are_accepted(make: str) -> None:
    async with serving(make, *all_but("wait")) as server, client_of(server) as client:
        with capture_logs() as lines:
            put = [await queue_of(client, replicas=1).enqueue("any", {}) for _ in range(2)]
        assert {one.durability for one in put} == {"memory"}
        assert "wait" in lines[0]["error"]


async def test_a_server_that_forgot_the_script_is_sent_it_again(primary: Server, make: str, redis: ArqRedis) -> None:
    async with replica_of(primary, make):
        queue = queue_of(redis, replicas=1)
        await redis.script_flush()
        assert (await queue.enqueue("any", {})).durability == "replicated"
        await redis.set(queue.key, "no sorted set")
        assert (await queue.enqueue("any", {})).durability == "replicated", "the bad key is removed"
