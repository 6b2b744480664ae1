"""The receipt in a 202: what the server, and the replicas asked for, stand for."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from settings import Settings
from tests.conftest import OpenClient
from tests.http.answers_seen import LETTER, problem_of
from tests.pictures import image
from tests.servers import client_of, replica_of, serving

ASKED = {"replicas": 1, "replication_timeout_ms": 100}


async def receipts_of(client: httpx.AsyncClient) -> set[Any]:
    """Of one job, of a batch, and of an upload."""
    args = '{"sizes": [{"width": 10}]}'
    answers = [
        await client.post("/v1/jobs/welcome_email", json=LETTER),
        await client.post("/v1/jobs/welcome_email/batch", json=[LETTER] * 2),
        await client.post("/v1/jobs/resize", files={"file": image(20, 20)}, data={"args": args}),
    ]
    assert [answer.status_code for answer in answers] == [202] * 3
    return {answer.json()["durability"] for answer in answers}


@pytest.mark.parametrize(("fsync", "receipt"), [("everysec", "fsync-everysec"), ("always", "fsync-always")])
async def test_every_202_says_what_the_server_does(open_client: OpenClient, fsync: str, receipt: str) -> None:
    async with (
        serving("valkey", "--appendonly", "yes", "--appendfsync", fsync) as server,
        open_client(redis_url=server.url) as client,
    ):
        assert await receipts_of(client) == {receipt}


async def test_with_replicas_asked_a_202_says_whether_they_have_it(open_client: OpenClient, settings: Settings) -> None:
    async with serving("valkey", "--appendonly", "yes") as primary, replica_of(primary) as replica:
        async with open_client(settings.model_copy(update=ASKED), redis_url=primary.url) as client:
            assert await receipts_of(client) == {"replicated"}
            replica.freeze()
            assert await receipts_of(client) == {"fsync-everysec"}, "accepted all the same, with the weaker truth"


async def test_a_server_set_to_refuse_without_replicas_answers_503(open_client: OpenClient, settings: Settings) -> None:
    """`min-replicas-to-write` is the strict form: nothing is accepted that might be lost."""
    options = ("--min-replicas-to-write", "1")
    async with (
        serving("valkey", *options) as server,
        open_client(settings.model_copy(update=ASKED), redis_url=server.url) as client,
    ):
        answer = await client.post("/v1/jobs/welcome_email", json=LETTER)
        problem_of(answer, 503, "redis-unavailable")
        async with client_of(server) as other:
            assert await other.dbsize() == 0


async def test_the_document_names_the_grades(client: httpx.AsyncClient) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    for model in ("AcceptedJobView", "Batch"):
        described = schemas[model]["properties"]["durability"]
        assert described["enum"] == ["memory", "fsync-everysec", "fsync-always", "replicated"]
    assert "durability" not in schemas["JobView"]["properties"], "it is a receipt, not a state"
