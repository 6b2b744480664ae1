"""Many jobs in one request: all or none, faulty items named by their index."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from settings import Settings
from tests.conftest import OpenClient
from tests.http.answers_seen import LETTER, faulty_fields, problem_of

BATCH = "/v1/jobs/welcome_email/batch"


async def queued(redis: ArqRedis) -> int:
    return int(await redis.zcard("arq:queue:mail"))


async def test_a_batch_is_put_in_its_order(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    letters = [{"to": f"user{number}@example.com", "name": str(number)} for number in range(1000)]
    answer = await client.post(BATCH, json=letters)
    assert answer.status_code == 202
    batch = answer.json()
    assert batch["count"] == len(batch["ids"]) == 1000
    for index in (0, 499, 999):
        job = (await client.get(f"/v1/jobs/{batch['ids'][index]}")).json()
        assert job["args"] == letters[index]
    assert [name.decode() for name in await redis.zrange("arq:queue:mail", 0, -1)] == batch["ids"]


async def test_ten_thousand_are_taken_and_one_more_is_not(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    answer = await client.post(BATCH, json=[LETTER] * 10_000)
    assert (answer.status_code, await queued(redis)) == (202, 10_000)
    assert faulty_fields(await client.post(BATCH, json=[LETTER] * 10_001)) == ["body"]
    assert await queued(redis) == 10_000


async def test_one_faulty_item_is_named_by_its_index_and_none_is_put(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    letters: list[Any] = [LETTER] * 300
    letters[7], letters[250] = {**LETTER, "to": "nowhere"}, {"to": LETTER["to"]}
    assert faulty_fields(await client.post(BATCH, json=letters)) == ["body.7.to", "body.250.name"]
    assert await queued(redis) == 0


async def test_a_hopeless_batch_is_answered_briefly(client: httpx.AsyncClient) -> None:
    assert len(faulty_fields(await client.post(BATCH, json=[{}] * 5000))) == 100


async def test_a_batch_can_be_for_later(client: httpx.AsyncClient) -> None:
    ids = (await client.post(BATCH, params={"delay": "1h"}, json=[LETTER, LETTER])).json()["ids"]
    assert {(await client.get(f"/v1/jobs/{job_id}")).json()["status"] for job_id in ids} == {"deferred"}


async def test_it_is_read_as_it_comes_and_no_further_than_it_is_good(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    pulled: list[int] = []

    async def endless() -> AsyncIterator[bytes]:
        yield b"["
        while True:
            piece = b'{"to": "ada@example.com", "name": "Ada"},' * 1000
            pulled.append(len(piece))
            yield piece

    answer = await client.post(BATCH, content=endless(), headers={"Content-Type": "application/json"})
    assert "10000" in problem_of(answer, 422, "invalid-request")["detail"]
    assert len(pulled) == 11 and await queued(redis) == 0


async def test_an_item_is_held_to_the_limit_of_a_single_job(open_client: OpenClient, settings: Settings) -> None:
    async with open_client(settings.model_copy(update={"body_limit_bytes": 1000})) as client:
        answer = await client.post(BATCH, json=[LETTER, {**LETTER, "name": "A" * 1000}])
        assert faulty_fields(answer) == ["body.1"]
        assert (await client.post(BATCH, json=[LETTER] * 100)).status_code == 202


@pytest.mark.parametrize("body", ["", "{}", "[]", "[NaN]", "null", "[1", '"text"'])
async def test_what_is_no_array_of_args_is_refused(client: httpx.AsyncClient, body: str) -> None:
    answer = await client.post(BATCH, content=body, headers={"Content-Type": "application/json"})
    assert faulty_fields(answer)[0].startswith("body")


async def test_a_batch_over_its_own_limit_is_refused(open_client: OpenClient, settings: Settings) -> None:
    async with open_client(settings.model_copy(update={"batch_limit_bytes": 1000})) as client:
        problem_of(await client.post(BATCH, json=[LETTER] * 100), 413, "content-too-large")
        assert (await client.post(BATCH, json=[LETTER])).status_code == 202
