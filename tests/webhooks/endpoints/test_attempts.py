"""Attempts are kept, searched, bounded, and show no secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import standardwebhooks
from aiohttp import web
from arq.connections import ArqRedis
from pydantic_core import to_json
from redis.exceptions import ConnectionError

from errand.webhooks.endpoints import AttemptFilter, EndpointAttempts
from errand.webhooks.endpoints.attempts import MEAN_BYTES
from errand.wire import keys
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.peers import HttpReceiver
from tests.ports import free_port
from tests.waiting import eventually
from tests.webhooks.endpoints.test_endpoints import PATH, ended, make, send


@asynccontextmanager
async def kept(redis: ArqRedis, *, limit: int = 1000) -> AsyncIterator[EndpointAttempts]:
    attempts = EndpointAttempts(redis, limit=limit)
    yield attempts
    await attempts.close()


def attempt(number: int = 1, **fields: Any) -> bytes:
    known = {
        **{"at_ms": 1, "job_id": "j", "number": number, "webhook_id": "w", "event": "a.b", "status": 204},
        **{"fault": None, "error": None, "remote": "", "timings_ms": {}, "headers": [], "body": ""},
    }
    return to_json({**known, **fields})


async def numbers(attempts: EndpointAttempts, **filter: Any) -> list[int]:
    found, _ = await attempts.page("one", AttemptFilter(**filter), limit=100)
    return [each.number for each in found]


async def test_large_answers_fill_no_more_of_redis_than_small_ones(redis: ArqRedis) -> None:
    async with kept(redis, limit=100) as attempts:
        for number in range(200):
            attempts.add("one", attempt(number, body="x" * 16_384 if number % 2 else ""))
        await attempts.close()
        used = await redis.memory_usage(keys.webhook_attempts("one"), samples=0)
        assert used is not None and used < 1.5 * 100 * MEAN_BYTES, "and not 100 times half of 16 KiB"
        assert (await numbers(attempts))[:3] == [199, 198, 197]


async def test_an_attempt_is_found_with_what_was_answered_and_without_secrets(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    auth = {"kind": "bearer", "token": "t0ken-of-the-receiver"}
    made = await make(client, "one", receiver.url, retry_s=[], auth=auth)
    said = "you sent t0ken-of-the-receiver"
    receiver.answers = [web.Response(status=418, text=said, headers={"X-Echo": "t0ken-of-the-receiver"})]
    async with run_worker([webhook]):
        for event in ("first", "second"):
            job_id = (await send(client, event=event))["deliveries"][0]["job_id"]
            await ended(redis, job_id)

        async def both() -> Any:
            page = (await client.get(made["links"]["attempts"])).json()
            return page if len(page["attempts"]) == 2 else None

        page = await eventually(both)
    second, first = page["attempts"]
    assert page["next"] is None
    assert (second["outcome"], second["status"], second["event"], second["fault"]) == ("delivered", 204, "second", None)
    assert (first["outcome"], first["status"], first["fault"]) == ("failed", 418, "status")
    assert first["error"].startswith("the receiver answered 418") and first["body"] == "you sent **********"
    assert ["X-Echo", "**********"] in first["headers"] and first["remote"].startswith("127.0.0.1:")
    sent = dict(first["request_headers"])
    assert sent["Authorization"] == "Bearer **********" and sent["webhook-id"] == first["webhook_id"]
    assert standardwebhooks.Webhook(made["secret"]).verify(receiver.requests[0].body, sent)["type"] == "first"
    assert second["request_headers"] == []
    assert (await client.get(second["links"]["job"])).json()["id"] == job_id == second["job_id"]
    assert "t0ken" not in str(await redis.xrange(keys.webhook_attempts("one")))


async def test_half_of_a_secret_at_the_end_of_what_is_kept_of_an_answer_is_left_out(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    made = await make(client, "one", receiver.url, retry_s=[])
    receiver.answers = [web.Response(status=500, text="x" * (16 * 1024 - 20) + made["secret"])]
    async with run_worker([webhook]):
        await ended(redis, (await send(client))["deliveries"][0]["job_id"])
    (only,) = (await client.get(made["links"]["attempts"])).json()["attempts"]
    assert set(only["body"]) == {"x"} and len(only["body"]) > 16_000


async def test_a_fault_has_its_kind(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    made = await make(client, "one", f"http://127.0.0.1:{free_port()}/", retry_s=[])
    async with run_worker([webhook]):
        await ended(redis, (await send(client))["deliveries"][0]["job_id"])
    (only,) = (await client.get(made["links"]["attempts"], params={"fault": "refused"})).json()["attempts"]
    assert (only["status"], only["outcome"], only["headers"], only["body"]) == (None, "failed", [], "")


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, [4, 3, 2, 1]),
        ({"event": "a.b"}, [2, 1]),
        ({"event": "order.*"}, [4, 3]),
        ({"outcome": "delivered"}, [3, 1]),
        ({"outcome": "failed"}, [4, 2]),
        ({"status": 503}, [2]),
        ({"fault": "timeout"}, [4]),
        ({"outcome": "failed", "event": "order.*"}, [4]),
        ({"since_ms": 2**42}, []),
        ({"until_ms": 1}, []),
        ({"since_ms": 1, "until_ms": 2**42}, [4, 3, 2, 1]),
    ],
)
async def test_attempts_are_searched(redis: ArqRedis, filter: dict[str, Any], expected: list[int]) -> None:
    async with kept(redis) as attempts:
        attempts.add("one", attempt(1))
        attempts.add("one", attempt(2, status=503, fault="status"))
        attempts.add("one", attempt(3, event="order.paid"))
        attempts.add("one", attempt(4, event="order.made", status=None, fault="timeout"))
        attempts.add("two", attempt(5))
    assert await numbers(attempts, **filter) == expected


async def test_pages_follow_one_another_and_a_filter_that_fits_little_does_not_read_all(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.webhooks.endpoints.attempts.READ_AT_ONCE", 5)
    monkeypatch.setattr("errand.webhooks.endpoints.attempts.MAX_READ", 10)
    async with kept(redis) as attempts:
        for number in range(1, 24):
            attempts.add("one", attempt(number, event="rare" if number == 2 else "often"))
    found, before = await attempts.page("one", AttemptFilter(), limit=7)
    more, _ = await attempts.page("one", AttemptFilter(), limit=7, before=before)
    assert [each.number for each in (*found, *more)] == list(range(23, 9, -1))
    pages: list[list[int]] = []
    before = None
    while not pages or before is not None:
        page, before = await attempts.page("one", AttemptFilter(event="rare"), limit=7, before=before)
        pages.append([each.number for each in page])
    assert pages == [[], [], [2]]


async def test_an_endpoint_has_so_many_and_none_if_none_are_kept(redis: ArqRedis) -> None:
    async with kept(redis, limit=100) as some, kept(redis, limit=0) as none:
        for number in range(1_000):
            some.add("one", attempt(number))
            none.add("two", attempt(number))
    assert 100 <= await redis.xlen(keys.webhook_attempts("one")) < 400  # Redis cuts whole nodes of the stream
    assert await redis.pttl(keys.webhook_attempts("one")) > 0
    assert not await redis.exists(keys.webhook_attempts("two"))


async def test_a_deleted_endpoint_leaves_none(redis: ArqRedis, client: httpx.AsyncClient) -> None:
    await make(client, "one", "https://acme.example/")
    async with kept(redis) as attempts:
        attempts.add("one", attempt())
    assert (await client.delete(f"{PATH}/one")).status_code == 204
    assert not await redis.exists(keys.webhook_attempts("one"))
    assert (await client.get(f"{PATH}/one/attempts")).status_code == 404


REFUSED = [
    *("cursor=x", "cursor=0-0", "cursor=\u0663-1"),
    *("status=20", "event=a..b", "outcome=maybe", "limit=101", "since=1", "x=y"),
]


@pytest.mark.parametrize("query", REFUSED)
async def test_a_search_that_makes_no_sense_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.get(f"{PATH}/one/attempts?{query}")).status_code == 422


async def test_a_time_before_1970_is_one_before_all_attempts(client: httpx.AsyncClient) -> None:
    await make(client, "one", "https://acme.example/")
    for name in ("since", "until"):
        answer = await client.get(f"{PATH}/one/attempts?{name}=1913-02-02T17:53:28-12:16")
        assert (answer.status_code, answer.json()["attempts"]) == (200, [])


async def test_while_redis_is_away_deliveries_go_on_and_memory_is_bounded(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.webhooks.endpoints.attempts.MAX_PENDING", 10)
    attempts = EndpointAttempts(redis, limit=1000)
    for number in range(20):
        attempts.add("one", attempt(number))
    assert len(attempts._pending) == 10

    def away(**_: Any) -> Any:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(attempts, "_append", away)
        await attempts.close()
    assert not await redis.exists(keys.webhook_attempts("one"))
