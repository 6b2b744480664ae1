"""Redis behind Sentinel: the master is found, again after a failover, and nothing that was replicated is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError, RedisError

from errand.events.listener import JobEvents
from errand.job.context import Context
from errand.job.job_type import JobType, job
from errand.queue.new_job import Enqueued
from errand.queue.queue import Queue
from errand.redis.connection import Refused, check_welcome, connect
from errand.redis.durability import Durability
from errand.wire import keys
from tests.conftest import running_worker
from tests.redis_servers import MASTER, Certificates, RedisServer, SentinelHouse, sentinel_house
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing, holds

PASSWORD = "s3cret/+%"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SentinelHouse]:
    async with sentinel_house(tmp_path) as running:
        yield running


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[ArqRedis]:
    client = connect(url, reply_timeout_s=1)
    try:
        yield client
    finally:
        await client.aclose()


async def port_of_master(client: ArqRedis) -> int:
    """Where the client's commands go."""
    return int((await client.config_get("port"))["port"])


def counting(ran: list[str]) -> JobType[Any, Any]:
    @job(max_tries=20)
    async def counted(ctx: Context, args: Nothing) -> None:
        ran.append(ctx.job_id)

    return counted


@asynccontextmanager
async def peer(answer: bytes | None) -> AsyncIterator[str]:
    """A server in the role of a sentinel that gives the same answer to every command, or none."""
    taken: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)
        while commands := await reader.read(65_536):
            if answer is not None:
                writer.write(b"".join(answer if b"SENTINEL" in command else b"+OK\r\n" for command in split(commands)))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in taken:
            writer.close()


def split(commands: bytes) -> list[bytes]:
    """What a client wrote, command by command."""
    return [command for command in commands.split(b"*") if command]


def said_of_master(port: int) -> bytes:
    """What a sentinel that takes the server on that port for a healthy master answers."""
    state = ["name", MASTER, "ip", "127.0.0.1", "port", str(port), "flags", "master"]
    bulks = "".join(f"${len(part)}\r\n{part}\r\n" for part in state)
    return f"*{len(state)}\r\n{bulks}".encode()


# --- finding it


async def test_the_master_is_found_even_if_sentinels_are_dead(house: SentinelHouse) -> None:
    async with client_of(house.url) as client:
        assert await port_of_master(client) == house.master.port
    for dead in house.sentinels[:2]:
        dead.kill()
    async with client_of(house.url) as client:
        assert await port_of_master(client) == house.master.port


async def test_a_sentinel_that_never_answers_is_not_waited_for(
    house: SentinelHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.redis.sentinel.REPLY_TIMEOUT_S", 3600)
    async with peer(None) as deaf, client_of(house.url.replace("://", f"://{deaf},")) as client:
        assert await port_of_master(client) == house.master.port


async def test_a_sentinel_that_names_a_replica_is_not_believed(house: SentinelHouse) -> None:
    stale = said_of_master(house.servers[1].port)
    async with peer(stale) as behind, client_of(house.url.replace("://", f"://{behind},")) as client:
        assert await port_of_master(client) == house.master.port


async def test_without_any_sentinel_redis_is_away(house: SentinelHouse) -> None:
    for sentinel in house.sentinels:
        sentinel.kill()
    async with client_of(house.url) as client:
        with pytest.raises(ConnectionError, match="no sentinel knows where 'mymaster' is"):
            await client.get("x")


async def test_a_name_that_sentinel_does_not_know_is_said_at_the_start(house: SentinelHouse) -> None:
    async with client_of(house.url.replace(MASTER, "other")) as client:
        with pytest.raises(Refused, match="Sentinel knows no master called 'other'"):
            await check_welcome(client)


# --- passwords and TLS


async def test_passwords_users_and_tls_hold_for_servers_and_sentinels(tmp_path: Path) -> None:
    certificates, ran = Certificates(tmp_path), list[str]()
    async with sentinel_house(tmp_path, sentinels=1, password=PASSWORD, certificates=certificates) as house:
        async with client_of(house.url) as client, running_worker(house.url, job_types=[counting(ran)]):
            put = await Queue(client, ended_ttl_s=60).enqueue("counted", {})
            assert (await ended(client, put.job_id)).status == "succeeded"
            assert await client.acl_whoami() == "errand"
        await refused(house.url.replace("errand:", "errand:not-"), "user or password")
        await refused(house.url.replace("sentinel_password=", "sentinel_password=not-"), "user or password")
        (other := tmp_path / "other").mkdir()
        await refused(house.url.replace(str(certificates.ca), str(Certificates(other).ca)), "CERTIFICATE_VERIFY_FAILED")


async def refused(url: str, reason: str) -> None:
    async with client_of(url) as client:
        with pytest.raises(Refused, match=reason) as refusal:
            await check_welcome(client)
    assert PASSWORD not in str(refusal.value)


# --- failing over


async def test_every_kind_of_connection_follows_the_master(house: SentinelHouse) -> None:
    ran: list[str] = []
    async with client_of(house.url) as client, running_worker(house.url, job_types=[counting(ran)]) as worker:
        queue, events = Queue(client, ended_ttl_s=60), JobEvents(client, queues=[keys.queue("default")])
        async with events.listening():
            await ended(client, (await queue.enqueue("counted", {})).job_id)
            await asyncio.gather(*(client.get("x") for _ in range(5)))  # idle connections to the old master
            await client.execute_command("WAIT", 1, 5000)  # type: ignore[no-untyped-call]
            await keep_it_a_master(house)
            await fail_over(house)

            async def moved() -> bool:
                try:
                    return await port_of_master(client) == house.servers[1].port
                except RedisError:
                    return False

            await eventually(moved)
            put = await accepted(queue)
            assert (await ended(client, put.job_id)).status == "succeeded"

            async def hears() -> bool:
                async with events.end_of("any") as heard:
                    await client.publish(keys.events(keys.queue("default")), "succeeded any")
                    await asyncio.sleep(0.05)
                    return heard.is_set()

            await eventually(hears)
            assert worker.main_task is not None and not worker.main_task.done()


async def keep_it_a_master(house: SentinelHouse) -> None:
    """Sentinel cannot tell the old one that it is none any more: its clients must find that out elsewhere."""
    async with client_of(house.master.url) as operator:
        await operator.acl_setuser("default", commands=["-replicaof", "-slaveof"])


async def fail_over(house: SentinelHouse) -> None:
    """Returns when Sentinel has chosen the replica."""
    async with client_of(f"redis://{house.sentinels[0].place}") as sentinel:

        async def chosen() -> bool:
            state = await sentinel.sentinel_master(MASTER)  # type: ignore[no-untyped-call]
            if state["port"] != house.servers[1].port:
                # it takes a replica for unfit that it has not heard of for a second, has one fail-over under way, or
                # has given one up
                with suppress(RedisError):
                    await sentinel.sentinel_failover(MASTER)  # type: ignore[no-untyped-call]
                return False
            return True

        await eventually(chosen)


async def accepted(queue: Queue) -> Enqueued:
    async def put() -> Enqueued | None:
        try:
            return await queue.enqueue("counted", {})
        except RedisError:
            return None

    return await eventually(put)


async def test_a_master_that_is_killed_under_load_takes_nothing_along_that_was_replicated(house: SentinelHouse) -> None:
    ran: list[str] = []
    load = Load(house.url)
    async with (
        client_of(house.url) as client,
        running_worker(house.url, job_types=[counting(ran)], lease_s=2) as worker,
    ):
        async with load.produced_by(8):
            await eventually(holds(lambda: len(load.replicated) > 500))
            await cut_off(house.servers[1])  # what is accepted from here on is lost, and must not say otherwise
            await eventually(holds(lambda: len(load.not_replicated) > 0))
            house.master.kill()
            put = await accepted(Queue(client, ended_ttl_s=60))
            await eventually(holds(lambda: put.job_id in ran))
        assert load.refused, "the master was gone for a while"
        for job_id in load.replicated:
            assert (await ended(client, job_id)).status == "succeeded"
        assert set(load.replicated) <= set(ran)
        assert worker.main_task is not None and not worker.main_task.done()


async def cut_off(replica: RedisServer) -> None:
    """Its link to the master ends; it stays a replica."""
    async with client_of(replica.url) as operator:
        await operator.replicaof("127.0.0.1", "1")


class Load:
    """Producers as the API is one, which note what they were promised."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.replicated: list[str] = []
        """Jobs whose receipt says so."""
        self.not_replicated: list[str] = []
        self.refused = 0

    @asynccontextmanager
    async def produced_by(self, producers: int) -> AsyncIterator[None]:
        async with client_of(self._url) as client:
            receipts = Durability(client, replicas=1)
            queue = Queue(client, ended_ttl_s=60, deadline_s=1.7, durability=receipts)
            producing = [asyncio.create_task(self._produce(queue)) for _ in range(producers)]
            try:
                yield
            finally:
                for producer in producing:
                    producer.cancel()
                await asyncio.gather(*producing, return_exceptions=True)

    async def _produce(self, queue: Queue) -> None:
        while True:
            try:
                put = await queue.enqueue("counted", {})
                kept = self.replicated if put.durability == "replicated" else self.not_replicated
                kept.append(put.job_id)
            except RedisError:
                self.refused += 1
                await asyncio.sleep(0.05)
