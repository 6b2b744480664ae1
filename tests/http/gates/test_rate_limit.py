"""`RATE_LIMIT`: each key's requests are counted, the answers say what is left, and what is too many is 429."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from arq.connections import ArqRedis

from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.dashboard.page_seen import OWN_PAGE
from tests.dashboard.signed_in import sign_in
from tests.http.answers_seen import LETTER, problem_of

ADA, EVE, READER = "ada-0123456789abc", "eve-0123456789abc", "reader-0123456789"
LETTERS = "/v1/jobs/welcome_email"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def limited(tmp_path: Path, redis_url: str) -> Settings:
    keys = f"{ADA},{EVE},{READER}:read"
    return make_settings(tmp_path, redis_url=redis_url, api_keys=keys, rate_limit="5/h")


@pytest.fixture
async def limited_client(open_client: OpenClient, limited: Settings) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(limited) as client:
        yield client


async def statuses(client: httpx.AsyncClient, number: int, **request: object) -> list[int]:
    answers = [await client.get("/v1/job-types", **request) for _ in range(number)]  # type: ignore[arg-type]  # headers
    return [answer.status_code for answer in answers]


async def test_each_answer_says_what_is_left_and_one_too_many_when_to_come_back(
    limited_client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    answers = [await limited_client.post(LETTERS, json=LETTER, headers=bearer(ADA)) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [202] * 5 + [429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"default";q=5;w=3600'}
    said = [answer.headers["ratelimit"] for answer in answers]
    # in that time what is left comes no faster than it refills: a fifth of an hour for each
    assert said[:5] == [f'"default";r={left};t={max(left, 1) * 720}' for left in (4, 3, 2, 1, 0)]
    details = problem_of(answers[5], 429, "rate-limited")
    wait_s = int(answers[5].headers["retry-after"])
    assert 700 < wait_s <= 720 and said[5] == f'"default";r=0;t={wait_s}'
    assert f"{wait_s} s" in details["detail"]
    assert await redis.zcard("arq:queue:mail") == 5


async def test_every_key_has_a_quota_of_its_own_for_all_that_it_asks(limited_client: httpx.AsyncClient) -> None:
    paths = ("/v1/jobs/nope", "/v1/files/nope", "/v1/job-types")
    answers = [await limited_client.get(path, headers=bearer(ADA)) for path in paths]
    answers += [await limited_client.post(LETTERS, headers=bearer(ADA)), await limited_client.post("/v1/jobs/nope")]
    assert [answer.headers.get("ratelimit", "").partition(";t")[0] for answer in answers] == [
        *(f'"default";r={left}' for left in (4, 3, 2, 1)),
        "",
    ]
    assert await statuses(limited_client, 2, headers=bearer(ADA)) == [200, 429]
    assert await statuses(limited_client, 2, headers=bearer(EVE)) == [200, 200]


async def test_what_is_refused_for_its_key_is_not_counted(limited_client: httpx.AsyncClient) -> None:
    for headers, status in (({}, 401), (bearer("no-such-key-0123456789"), 401), (bearer(READER), 403)):
        for _ in range(7):
            answer = await limited_client.post(LETTERS, json=LETTER, headers=headers)
            assert answer.status_code == status and "ratelimit" not in answer.headers
    assert await statuses(limited_client, 6, headers=bearer(READER)) == [200] * 5 + [429]


async def test_health_and_documentation_are_not_counted(limited_client: httpx.AsyncClient) -> None:
    for _ in range(7):
        for path in ("/healthz", "/openapi.json", "/docs"):
            answer = await limited_client.get(path, headers=bearer(ADA))
            assert answer.status_code == 200 and "ratelimit" not in answer.headers


async def test_without_keys_each_address_has_its_quota(
    open_client: OpenClient, limited: Settings, redis: ArqRedis
) -> None:
    settings = limited.model_copy(update={"api_keys": ()})
    for peer in ("127.0.0.1", "127.0.0.2"):
        async with open_client(settings, client=(peer, 50_000)) as client:
            assert await statuses(client, 6) == [200] * 5 + [429]


async def test_no_key_stands_in_redis(limited_client: httpx.AsyncClient, redis: ArqRedis) -> None:
    await limited_client.get("/v1/job-types", headers=bearer(ADA))
    names = [name.decode() for name in await redis.keys("*")]
    assert len(names) == 1 and ADA not in names[0]


async def test_without_redis_nobody_is_let_through_uncounted(
    open_client: OpenClient, limited: Settings, tmp_path: Path
) -> None:
    async with open_client(limited, redis_url=f"unix://{tmp_path}/none.sock") as client:
        for _ in range(2):
            answer = await client.get("/v1/job-types", headers=bearer(ADA))
            problem_of(answer, 503, "redis-unavailable")
            assert int(answer.headers["retry-after"]) > 0


async def test_where_no_limit_is_set_nothing_is_counted_and_nothing_said(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    await client.post(LETTERS, json=LETTER)
    await redis.config_resetstat()
    answer = await client.post(LETTERS, json=LETTER)
    assert answer.status_code == 202 and "ratelimit-policy" not in answer.headers
    stats = await redis.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] == 1
    assert await redis.keys("errand:rate:*") == []


async def test_a_session_of_the_dashboard_is_counted_with_its_key(limited_client: httpx.AsyncClient) -> None:
    await sign_in(limited_client, ADA)
    letter = {f"args.{name}": text for name, text in LETTER.items()}
    put = [await limited_client.post("/dashboard/job-types/welcome_email", data=letter, headers=OWN_PAGE)]
    put.append(await limited_client.post(LETTERS, json=LETTER, headers=bearer(ADA)))
    pages = [await limited_client.get("/dashboard/jobs") for _ in range(4)]
    assert [answer.status_code for answer in (*put, *pages)] == [303, 202, 200, 200, 200, 429]
    assert "Try again in" in pages[-1].text and int(pages[-1].headers["retry-after"]) > 0
