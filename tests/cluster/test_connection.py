"""How a cluster is found and entered: passwords, TLS, rights, and the URLs that do not lead to one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from redis import Redis
from redis.exceptions import TimeoutError

from errand.doctor.cluster_checks import check_cluster
from errand.queue.queue import Queue
from errand.redis.cluster.nodes import Address, Nodes
from errand.redis.cluster.state import ClusterState, read_cluster
from errand.redis.connection import Refused, check_welcome
from errand.redis.rights import missing_rights
from errand.redis.server import ServerState, read_server
from errand.redis_url import RedisUrl
from tests.cluster.test_moves import SLOT
from tests.conftest import running_worker
from tests.ports import free_port
from tests.redis.test_sentinel import client_of, counting
from tests.redis_cluster import SLOTS, Cluster
from tests.redis_servers import Certificates, RedisServer
from tests.servers import serving
from tests.waiting import eventually_sync
from tests.worker.test_worker import ended


def test_what_the_url_of_a_cluster_says() -> None:
    url = RedisUrl.parse("rediss+cluster://errand:p%40ss@h1,[::1]:7,h3:8/staging?ssl_ca_certs=/ca.pem")
    assert url.by_cluster and url.addresses == (("h1", 6_379), ("::1", 7), ("h3", 8))
    assert (url.installation, url.master) == ("staging", "")
    assert url.servers.tls and url.servers.options["password"] == "p@ss"
    assert url.shown == "rediss+cluster://h1,[::1]:7,h3:8/staging"
    assert RedisUrl.parse("redis+cluster://h1").installation == "errand"


@pytest.mark.parametrize("url", ["redis+cluster://h1/3", "redis+cluster://h1/a{b}", "redis+cluster://h1?db=1"])
def test_a_cluster_has_no_database_to_choose(url: str) -> None:
    with pytest.raises(ValueError, match=r"has one; what may follow|unknown option"):
        RedisUrl.parse(url)


async def test_a_url_for_one_server_that_leads_to_a_cluster_is_refused(cluster: Cluster) -> None:
    for node in cluster.nodes[:2]:
        async with client_of(node.server.url) as client:
            with pytest.raises(Refused, match=r"let REDIS_URL begin with redis\+cluster://"):
                await check_welcome(client)


async def test_a_url_for_a_cluster_that_leads_to_one_server_is_refused() -> None:
    async with serving() as server, client_of(server.url.replace("redis://", "redis+cluster://")) as client:
        with pytest.raises(Refused, match="is no node of a cluster"):
            await check_welcome(client)


async def test_a_node_that_is_dead_and_one_that_knows_little_are_passed_over(cluster: Cluster) -> None:
    replica = next(node for node in cluster.nodes if not node.is_master)
    async with client_of(f"redis+cluster://127.0.0.1:{free_port()},{replica.server.place}") as client:
        await check_welcome(client)
        assert await client.info("replication")


async def test_the_doctor_says_where_the_jobs_are_and_what_holds_them_up(cluster: Cluster, redis: ArqRedis) -> None:
    state = await read_cluster(redis)
    assert state is not None
    (finding,) = check_cluster(state, server := await read_server(redis))
    owner = cluster.owner(SLOT)
    assert finding.level == "ok" and f"slot {SLOT}, on {owner.server.place}, with 1 replica" in finding.found
    for fields, said in (
        ({"is_up": False, "slots_served": 9}, "down: 9 of 16384"),
        ({"is_moving": True}, "on their way"),
    ):
        (finding,) = check_cluster(changed(state, **fields), server)
        assert finding.level == "warning" and said in finding.found
    (finding,) = check_cluster(state, ServerState(info={**server.info, "slave0": {"state": "wait_bgsave"}}))
    assert "no replica in step" in finding.found
    assert check_cluster(None, server) == []


def changed(state: ClusterState, **fields: object) -> ClusterState:
    known = {name: getattr(state, name) for name in ClusterState.__slots__}
    return ClusterState(**{**known, **fields})


def ask(operator: Redis, *command: Any) -> Any:
    return operator.execute_command(*command)  # type: ignore[no-untyped-call]


async def test_users_passwords_and_tls_hold_for_all_nodes(tmp_path: Path) -> None:
    certificates, ran = Certificates(tmp_path), list[str]()
    server = RedisServer(tmp_path / "node")
    server.options = [
        *certificates.tls_options(server.port),
        "tls-cluster yes",
        "cluster-enabled yes",
        f"cluster-port {free_port()}",
        "user errand on >s3cret/+% ~{staging}:* &{staging}:* +@all -@admin -@dangerous +info +role +config|get",
    ]
    with server.running():
        operator = Redis(port=server.port, ssl=True, ssl_ca_certs=str(certificates.ca))
        ask(operator, "CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
        eventually_sync(lambda: b"cluster_state:ok" in ask(operator, "CLUSTER", "INFO"))
        query = f"?ssl_ca_certs={certificates.ca}"
        url = f"rediss+cluster://errand:s3cret%2F%2B%25@{server.place}/staging{query}"
        async with client_of(url) as client, running_worker(url, job_types=[counting(ran)]):
            await check_welcome(client)
            put = await Queue(client, ended_ttl_s=60).enqueue("counted", {})
            assert (await ended(client, put.job_id)).status == "succeeded"
            assert await client.acl_whoami() == "errand"
        async with client_of(url.replace("errand:", "errand:not-")) as client:
            with pytest.raises(Refused, match="user or password"):
                await check_welcome(client)
        async with client_of(url.replace("/staging", "")) as client:
            assert await missing_rights(client) == ["~{errand}:errand:*"]


async def test_a_look_for_the_slot_that_has_its_answer_takes_no_other_along(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.redis.sentinel.HEAD_START_S", 0)  # so that several nodes are asked, and left again
    nodes = Nodes([("127.0.0.1", node.server.port) for node in cluster.nodes], tls=False)

    async def look() -> Address:
        async with aclosing(nodes.owners(SLOT)) as addresses:
            return await anext(addresses)

    owner = cluster.owner(SLOT).server.port
    for _ in range(10):
        answers = await asyncio.gather(*(look() for _ in range(40)), return_exceptions=True)
        assert answers == [("127.0.0.1", owner)] * 40


async def test_a_node_that_takes_connections_and_says_nothing_is_an_outage_in_the_words_of_redis(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.redis.cluster.pool.WELCOME_LIMIT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        host, port = deaf.getsockname()

        async def named(self: Nodes, slot: int) -> AsyncIterator[Address]:
            yield host, port

        monkeypatch.setattr(Nodes, "owners", named)
        async with client_of(cluster.url) as client:
            with pytest.raises(TimeoutError, match=f"{host}:{port} gave no welcome within"):
                await client.ping()
