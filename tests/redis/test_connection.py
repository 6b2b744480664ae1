"""Connections: TLS and passwords, servers that fall silent or stop being the master, callers that need not queue."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import ConnectionError, ReadOnlyError, TimeoutError

from errand.redis import connection
from errand.redis.connection import Refused, check_welcome, connect
from errand.redis.redis_py import CONNECTING_AT_ONCE, Pool, copy_of
from tests.redis_servers import Certificates, RedisServer
from tests.waiting import NEVER_S


def pool_of(client: ArqRedis) -> Pool:
    pool = client.connection_pool
    assert isinstance(pool, Pool)
    return pool


@asynccontextmanager
async def client_of(url: str, *, reply_timeout_s: float = NEVER_S) -> AsyncIterator[ArqRedis]:
    client = connect(url, reply_timeout_s=reply_timeout_s)
    try:
        yield client
    finally:
        await client.aclose()


class Proxy:
    """A TCP proxy that leads to one server or another, and can swallow all that is said, or reset what is open."""

    def __init__(self, upstream: RedisServer) -> None:
        self.upstream = upstream
        self.swallows = False
        """Bytes on any connection are dropped, and neither side notices."""
        self.url = ""
        self._open: list[asyncio.StreamWriter] = []
        self._lost: set[asyncio.StreamWriter] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, upstream: RedisServer) -> AsyncIterator[Proxy]:
        proxy = cls(upstream)
        server = await asyncio.start_server(proxy._pass_on, "127.0.0.1", 0)
        proxy.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            server.close()
            for writer in proxy._open:
                writer.close()

    def lose_all(self) -> None:
        """The connections that are open go on to swallow what is said; new ones work."""
        self._lost |= set(self._open)

    def reset_all(self) -> None:
        for writer in self._open:
            at_once = struct.pack("ii", 1, 0)
            writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            writer.transport.abort()
        self._open.clear()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self.upstream.port)
        self._open += (writer, forth)
        await asyncio.gather(self._copy(reader, forth), self._copy(back, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                if not self.swallows and writer not in self._lost:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


# --- TLS and passwords


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    # a handshake can take longer than its limit on a busy machine
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", NEVER_S)
    return Certificates(tmp_path)


def tls_server(folder: Path, certificates: Certificates, *more: str, **tls: object) -> RedisServer:
    server = RedisServer(folder / "server")
    server.options = [*certificates.tls_options(server.port, **tls), *more]  # type: ignore[arg-type]  # as it takes them
    return server


async def test_a_server_is_reached_over_tls_by_a_user_with_a_password(
    tmp_path: Path, certificates: Certificates
) -> None:
    server = tls_server(tmp_path, certificates, "user errand on >p@ss allkeys allchannels +@all", "user default off")
    url = f"rediss://errand:p%40ss@{server.place}/3?ssl_ca_certs={certificates.ca}"
    with server.running():
        async with client_of(url) as client:
            await check_welcome(client)
            assert await client.acl_whoami() == "errand"
            assert (await client.client_info())["db"] == 3
        await refused(url.replace("p%40ss", "other"), "user or password")
        await refused(url.replace("errand:p%40ss@", ""), "user or password")


async def test_a_certificate_of_another_authority_or_name_is_refused(
    tmp_path: Path, certificates: Certificates
) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    server = tls_server(tmp_path, certificates, name="redis.example")
    url = f"rediss://{server.place}?ssl_ca_certs="
    with server.running():
        await refused(f"{url}{Certificates(elsewhere).ca}", "CERTIFICATE_VERIFY_FAILED")
        await refused(f"{url}{certificates.ca}", "IP address mismatch")
        for careless in (f"{url}{certificates.ca}&ssl_check_hostname=false", f"{url}&ssl_cert_reqs=none"):
            async with client_of(careless.replace("ssl_ca_certs=&", "")) as client:
                await check_welcome(client)


async def test_a_server_may_ask_for_our_certificate(tmp_path: Path, certificates: Certificates) -> None:
    server = tls_server(tmp_path, certificates, of_clients=True)
    certificate, key = certificates.issue("client.example")
    url = f"rediss://{server.place}?ssl_ca_certs={certificates.ca}"
    with server.running():
        async with client_of(url) as client:
            with pytest.raises((Refused, ConnectionError)):  # the server may hang up before its reason is read
                await check_welcome(client)
        async with client_of(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}") as client:
            await check_welcome(client)


async def refused(url: str, reason: str) -> None:
    async with client_of(url) as client:
        with pytest.raises(Refused, match=reason):
            await check_welcome(client)


async def test_an_absent_server_is_not_one_that_refuses_us(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with client_of(server.url) as client:
        with pytest.raises(ConnectionError, match="Connect call failed"):
            await check_welcome(client)


# --- servers that are not the right ones any more


@pytest.fixture
async def two_servers(tmp_path: Path) -> AsyncIterator[tuple[RedisServer, RedisServer]]:
    with RedisServer(tmp_path / "a").running() as first, RedisServer(tmp_path / "b").running() as second:
        yield first, second


async def test_a_master_that_became_a_replica_is_left_with_all_connections_to_it(
    two_servers: tuple[RedisServer, RedisServer],
) -> None:
    fallen, chosen = two_servers
    async with Proxy.to(fallen) as proxy, client_of(proxy.url) as client, client_of(fallen.url) as operator:
        await asyncio.gather(*(client.blpop(["nothing"], timeout=0.1) for _ in range(4)))  # type: ignore[arg-type]  # any number
        await operator.replicaof("127.0.0.1", str(chosen.port))
        proxy.upstream = chosen  # as the name of a managed Redis does
        with pytest.raises(ReadOnlyError):
            await client.set("x", 1)
        assert sorted(await asyncio.gather(*(client.incr("y") for _ in range(4)))) == [1, 2, 3, 4]


async def test_a_connection_that_was_reset_while_idle_is_opened_anew(tmp_path: Path) -> None:
    def asked_again() -> None:
        async def ask() -> None:
            async with Proxy.to(server) as proxy, client_of(proxy.url) as client:
                assert await client.incr("x") > 0
                proxy.reset_all()
                await asyncio.sleep(0.05)  # the reset arrives, and nobody is told
                assert await client.incr("x") > 0

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(ask())

    with RedisServer(tmp_path).running() as server:
        await asyncio.to_thread(asked_again)


async def test_a_silent_server_holds_up_nobody_longer_than_its_own_reply(tmp_path: Path) -> None:
    with RedisServer(tmp_path).running() as server:
        async with Proxy.to(server) as proxy, client_of(proxy.url, reply_timeout_s=0.5) as client:
            proxy.swallows = True
            ticks = [asyncio.create_task(asyncio.sleep(number * 0.5)) for number in range(20)]
            answers = await asyncio.gather(*(client.get("x") for _ in range(20)), return_exceptions=True)
            assert {type(answer) for answer in answers} == {TimeoutError}
            assert not ticks[10].done(), "one after the other they would have waited through all of them"
            for tick in ticks:
                tick.cancel()


async def test_a_thousand_callers_at_once_do_not_open_a_thousand_connections(redis: ArqRedis, redis_url: str) -> None:
    async with client_of(redis_url) as client:
        assert await asyncio.gather(*(client.get("x") for _ in range(1000))) == [None] * 1000
        assert len(client.connection_pool._available_connections) < 500


async def test_idle_connections_are_dropped_with_a_silent_one(tmp_path: Path) -> None:
    with RedisServer(tmp_path).running() as server:
        async with Proxy.to(server) as proxy, client_of(proxy.url, reply_timeout_s=1) as client:
            await asyncio.gather(*(client.blpop(["nothing"], timeout=0.1) for _ in range(4)))  # type: ignore[arg-type]  # any number
            proxy.swallows = True
            with pytest.raises(TimeoutError):
                await client.get("x")
            assert client.connection_pool._available_connections[:-1] == []


async def test_a_client_that_is_closed_while_it_connects_leaves_no_connection(redis_url: str) -> None:
    for turns in range(1, 12):
        client = connect(redis_url, reply_timeout_s=NEVER_S)
        pool, calling = client.connection_pool, asyncio.ensure_future(client.get("x"))
        for _ in range(turns):
            await asyncio.sleep(0)
        made = {*pool._in_use_connections, *pool._available_connections}
        await client.aclose()
        await asyncio.gather(calling, return_exceptions=True)
        assert [connection for connection in made if connection.is_connected] == [], turns


async def test_whoever_is_cancelled_while_he_opens_or_closes_leaves_no_connection(redis_url: str) -> None:
    """At every turn of the loop, and a second time one or two turns later, as who closes was cancelled before."""

    async def used(client: ArqRedis) -> None:
        try:
            await asyncio.gather(*(client.get("x") for _ in range(CONNECTING_AT_ONCE + 2)))
        finally:
            await client.aclose()

    for turns, again in itertools.product(range(40), range(3)):
        client = connect(redis_url, reply_timeout_s=NEVER_S)
        using = asyncio.create_task(used(client))
        for wait in (turns, again):
            for _ in range(wait):
                await asyncio.sleep(0)
            using.cancel()
        await asyncio.gather(using, return_exceptions=True)
        pool = client.connection_pool
        known = [*pool._in_use_connections, *pool._available_connections]
        assert [connection for connection in known if connection.is_connected] == [], (turns, again)


async def test_who_is_cancelled_while_a_server_is_given_up_leaves_no_connection(redis: ArqRedis) -> None:
    pool = pool_of(redis)
    await asyncio.gather(*(redis.get("x") for _ in range(3)))
    idle = list(pool._available_connections)
    dropping = asyncio.create_task(pool.drop_idle())
    await asyncio.sleep(0)
    dropping.cancel()
    await asyncio.gather(dropping, return_exceptions=True)
    assert [connection for connection in idle if connection.is_connected] == []


async def test_a_call_that_waits_for_its_turn_to_connect_opens_nothing_once_the_client_is_closed(
    redis_url: str,
) -> None:
    client = connect(redis_url, reply_timeout_s=NEVER_S)
    pool = pool_of(client)
    async with AsyncExitStack() as others_connect:
        for _ in range(CONNECTING_AT_ONCE):
            await others_connect.enter_async_context(pool._gate)
        waiting = asyncio.ensure_future(client.get("x"))
        await asyncio.sleep(0)
        await client.aclose()
    with pytest.raises(ConnectionError, match="closed"):
        await waiting
    assert pool._available_connections == []


# --- copies


async def test_a_copy_connects_to_the_same_server_with_another_limit(redis: ArqRedis, redis_url: str) -> None:
    stock = ConnectionPool.from_url(redis_url)
    for pool in (redis.connection_pool, stock):
        copy = Redis(connection_pool=copy_of(pool, reply_timeout_s=0.2))
        with pytest.raises(TimeoutError):
            await copy.blpop(["nothing"], timeout=1)  # type: ignore[misc]  # redis-py types both its clients
        await copy.aclose(close_connection_pool=True)
    await stock.aclose()


async def test_a_cancelled_call_is_cancelled(redis: ArqRedis) -> None:
    """Whenever it comes: `asyncio.wait_for`, which redis-py writes with, can swallow it."""

    async def endlessly() -> None:
        while True:
            await redis.get("x")

    for turns in range(200):
        calling = asyncio.ensure_future(endlessly())
        for _ in range(turns % 40):
            await asyncio.sleep(0)
        calling.cancel()
        await asyncio.wait({calling}, timeout=NEVER_S)
        assert calling.cancelled(), turns
