"""`GET /v1/jobs`: filters, pages, cursors; and what a client sees of each job."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import datetime
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from jobs.webhook import webhook
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.dying import die, fragile
from tests.http.answers_seen import LETTER, faulty_fields, problem_of
from tests.peers import HttpReceiver

PATH = "/v1/jobs"


async def put_letter(client: httpx.AsyncClient, **when: str) -> str:
    """The id of a job that no worker of these tests runs."""
    return str((await client.post(f"{PATH}/welcome_email", params=when, json=LETTER)).json()["id"])


async def get(client: httpx.AsyncClient, path: str = PATH, **query: Any) -> dict[str, Any]:
    answer = await client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    """The ids on all pages, each found by the `next` of the one before."""
    page = await get(client, **query)
    found = [job["id"] for job in page["jobs"]]
    while page["next"] is not None:
        page = await get(client, page["next"])
        found += [job["id"] for job in page["jobs"]]
    return found


async def some_jobs(client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker) -> list[str]:
    """A failed one, a cancelled one, a queued one, two deferred ones; as they stand on the timeline, newest first."""
    found = await die(redis, run_worker, [{}])
    cancelled = await put_letter(client, delay="1h")
    assert (await client.post(f"{PATH}/{cancelled}/cancel")).status_code == 200
    found += [cancelled, await put_letter(client)]
    found += [await put_letter(client, delay="2h"), await put_letter(client, run_at="2130-01-01T00:00:00Z")]
    return found[::-1]


async def test_a_listed_job_is_shown_as_it_is_alone_without_its_large_fields(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    sent = (await client.post(f"{PATH}/webhook", json={"url": receiver.url, "event": "e", "data": 1})).json()["id"]
    async with run_worker([webhook]):
        await client.get(f"{PATH}/{sent}", params={"wait": 10})
    known = [*await some_jobs(client, redis, run_worker), sent]
    page = await get(client)
    assert [job["id"] for job in page["jobs"]] == known and page["next"] is None and page["cursor"] is None
    for listed in page["jobs"]:
        whole = (await client.get(listed["links"]["self"])).json()
        assert {*whole} - {*listed} == {
            *("args", "result", "attempts", "progress", "priority", "trace_id", "request_id"),
            *("waiting", "planned_attempts", "gives_up_at", "delivery"),
        }
        for field in {*listed} - {"error"}:
            assert listed[field] == whole[field], (field, listed["status"])
        assert (listed["error"] is None) == (whole["error"] is None)
    died = next(job for job in page["jobs"] if job["status"] == "failed")
    assert died["error"]["message"] == "cup 0" and died["error"]["traceback"] is None
    assert died["max_tries"] is None, "this service does not know the type"


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"type": "welcome_email"}, [0, 1, 2, 3]),
        ({"type": "fragile"}, [4]),
        ({"type": "absent"}, []),
        ({"status": "deferred"}, [0, 1]),
        ({"status": ["failed", "queued"]}, [2, 4]),
        ({"status": "cancelled", "type": "fragile"}, []),
        ({"queue": "cpu"}, []),
        ({"queue": "mail", "status": "cancelled"}, [3]),
        ({"since": "2100-01-01T00:00:00Z"}, [0]),
        ({"until": "2100-01-01T01:00:00+01:00"}, [1, 2, 3, 4]),
        ({"since": "2130-01-01T00:00:00Z", "until": "2130-01-01T00:00:00.001Z"}, [0]),
        ({"until": "2130-01-01T00:00:00Z", "status": ["deferred"], "type": "welcome_email"}, [1]),
    ],
)
async def test_filters_are_combined(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, query: dict[str, Any], numbers: list[int]
) -> None:
    known = await some_jobs(client, redis, run_worker)
    for limit in (1, 2, 500):
        assert await ids(client, **query, limit=limit) == [known[number] for number in numbers]


async def test_the_next_page_is_named_in_the_body_and_in_a_link_header(client: httpx.AsyncClient) -> None:
    known = [await put_letter(client, delay=f"{hours}h") for hours in (3, 2, 1)]
    query: dict[str, Any] = {
        "type": "welcome_email",
        "status": ["deferred", "queued"],
        "since": "2000-01-01T00:00:00Z",
        "limit": 2,
    }
    answer = await client.get(PATH, params=query)
    page = answer.json()
    assert [job["id"] for job in page["jobs"]] == known[:2]
    assert answer.headers["link"] == f'<{page["next"]}>; rel="next"'
    second = await client.get(page["next"])
    assert [job["id"] for job in second.json()["jobs"]] == known[2:] and "link" not in second.headers
    by_hand = await get(client, **{**query, "limit": 500}, cursor=page["cursor"])
    assert [job["id"] for job in by_hand["jobs"]] == known[2:], "the limit is free, the filters are not"


async def test_a_cursor_is_refused_with_other_filters_than_its_own(client: httpx.AsyncClient) -> None:
    for hours in (1, 2):
        await put_letter(client, delay=f"{hours}h")
    page = await get(client, status=["queued", "deferred"], limit=1)
    assert len((await get(client, status=["deferred", "queued"], cursor=page["cursor"]))["jobs"]) == 1
    for other in ({}, {"status": "deferred"}, {"status": ["queued", "deferred"], "type": "webhook"}):
        answer = await client.get(PATH, params={**other, "cursor": page["cursor"]})
        assert faulty_fields(answer) == ["query.cursor"] and "other filters" in answer.json()["detail"]


def coded(text: bytes) -> str:
    return urlsafe_b64encode(text).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "nonsense", "ü", "é" * 100, "MSBh", "====", "a", "%00", "\0"),
        *map(coded, [b"1", b"1 2 3 4", b"2 e3b0c44298fc 1 1 x", b"1 e3b0c44298fc a b x", b"1 e3b0c44298fc nan 1 x"]),
        *map(coded, [b"1 e3b0c44298fc 1 nan x", b"1 \xff 1 1 x", b"\xff e3b0c44298fc 1 1 x"]),
        "A" * 2_001,
    ],
)
async def test_a_text_that_is_no_cursor_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    answer = await client.get(PATH, params={"cursor": cursor})
    assert faulty_fields(answer) == ["query.cursor"]


@pytest.mark.parametrize(
    "position", [b"1 1 x", b"-1 -1 ", b"inf inf \xff\xfe", b"-inf -inf x", b"1e308 1e308 x", b"0 5e-324 " + b"x" * 999]
)
async def test_a_cursor_that_was_made_up_leads_to_jobs_or_to_none(client: httpx.AsyncClient, position: bytes) -> None:
    known = await put_letter(client)
    cursor = coded(b"1 e3b0c44298fc " + position)
    assert [job["id"] for job in (await get(client, cursor=cursor))["jobs"]] in ([], [known])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "query.limit"),
        ({"limit": "501"}, "query.limit"),
        ({"status": "done"}, "query.status.0"),
        ({"status": ["queued", "complete"]}, "query.status.1"),
        ({"queue": "nowhere"}, "query.queue"),
        ({"type": ""}, "query.type"),
        ({"since": "yesterday"}, "query.since"),
        ({"until": "2026-01-01T00:00:00"}, "query.until"),
        ({"stauts": "queued"}, "query.stauts"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused_by_its_field(
    client: httpx.AsyncClient, query: dict[str, Any], field: str
) -> None:
    assert faulty_fields(await client.get(PATH, params=query)) == [field]


async def test_a_page_that_ends_with_an_id_of_any_length_and_bytes_has_a_next_one(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    for number in range(3):
        await redis.enqueue_job("stock", _job_id=f"ü {number} " + "x" * 3_000)
    listed = await ids(client, limit=1)
    assert sorted(listed) == [f"ü {number} " + "x" * 3_000 for number in range(3)]


async def test_jobs_of_stock_producers_and_of_unknown_types_are_listed_without_their_args(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    job = await redis.enqueue_job("stock", "secret word")
    assert job is not None
    answer = await client.get(PATH, params={"type": "stock"})
    (listed,) = answer.json()["jobs"]
    assert (listed["id"], listed["type"], listed["status"], listed["max_tries"]) == (
        job.job_id,
        "stock",
        "queued",
        None,
    )
    assert "secret word" not in answer.text


async def test_a_job_is_listed_by_its_new_state_after_retry_and_forget(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    first, second = await die(redis, run_worker, [{}, {}], fragile)
    assert set(await ids(client, status="failed")) == {first, second}
    assert (await client.post(f"{PATH}/{first}/retry")).status_code == 202
    assert (await client.delete(f"{PATH}/{second}")).status_code == 204
    assert await ids(client, status="failed") == [] and await ids(client) == [first]
    assert await ids(client, status="queued") == [first]


async def test_a_list_needs_the_scope_to_read(open_client: OpenClient, tmp_path: Any) -> None:
    keys_ = "reading-key-reading-key:read,writing-key-writing:write"
    async with open_client(make_settings(tmp_path, api_keys=keys_)) as client:
        problem_of(await client.get(PATH), 401, "unauthorized")
        key = {"Authorization": "Bearer writing-key-writing"}
        assert (await client.get(PATH, headers=key)).status_code == 403
        key = {"Authorization": "Bearer reading-key-reading-key"}
        assert (await client.get(PATH, headers=key)).json() == {"jobs": [], "next": None, "cursor": None}


async def test_an_empty_list_and_one_that_ends_with_a_page_say_that_nothing_follows(client: httpx.AsyncClient) -> None:
    assert await get(client) == {"jobs": [], "next": None, "cursor": None}
    for _ in range(4):
        await put_letter(client)
    page = await get(client, limit=2)
    last = await get(client, page["next"])
    assert len(last["jobs"]) == 2 and last["next"] is None
    assert all(datetime.fromisoformat(job["run_at"]) for job in last["jobs"])
