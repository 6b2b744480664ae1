"""`/v1/dead-jobs`: list, count, replay; and over the wire what becomes of each."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.dead_jobs import dead_jobs
from errand.wire import keys
from jobs.webhook import webhook
from settings import Settings
from tests.conftest import OpenClient, RunWorker
from tests.dying import CUPS, PLATES, QUEUE, REFUSED, die, fragile, porous
from tests.http.answers_seen import faulty_fields, problem_of
from tests.peers import HttpReceiver

DEAD = "/v1/dead-jobs"
GROUPS = f"{DEAD}/groups"
REPLAY = f"{DEAD}/replay"


async def get(client: httpx.AsyncClient, path: str = DEAD, **query: Any) -> dict[str, Any]:
    answer = await client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ids(client: httpx.AsyncClient, **query: Any) -> list[str]:
    """Of all pages."""
    page = await get(client, **query)
    found = [job["id"] for job in page["jobs"]]
    while page["cursor"] is not None:
        page = await get(client, **query, cursor=page["cursor"])
        found += [job["id"] for job in page["jobs"]]
    return found


async def test_a_dead_job_is_listed_with_its_last_error_and_the_way_to_run_it_again(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    (job_id,) = await die(redis, run_worker, [{"how": "miss", "number": 4}])
    (listed,) = (await get(client))["jobs"]
    whole = (await client.get(f"/v1/jobs/{job_id}")).json()
    for field in ("id", "type", "queue", "attempt", "error", "enqueued_at", "finished_at", "links"):
        assert listed[field] == whole[field], field
    assert listed["error"]["fingerprint"] == PLATES and listed["error"]["message"] == "'plate 4'"
    assert "miss" in listed["error"]["traceback"]
    assert whole["attempts"][-1]["error"]["fingerprint"] == PLATES
    assert (await client.post(listed["links"]["retry"])).status_code == 202


async def test_pages_are_newest_first_and_a_cursor_leads_from_one_to_the_next(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    died = [(await die(redis, run_worker, [{"number": number}]))[0] for number in range(5)]
    assert await ids(client) == await ids(client, limit=2) == await ids(client, limit=1) == died[::-1]
    first = await get(client, limit=2)
    later = await die(redis, run_worker, [{}] * 3)
    second = await get(client, limit=2, cursor=first["cursor"])
    assert [job["id"] for job in second["jobs"]] == [died[2], died[1]], "what died meanwhile does not move it"
    assert set(await ids(client)) == {*died, *later}


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [3, 2, 1, 0]),
        ({"type": "fragile"}, [2, 1, 0]),
        ({"fingerprint": CUPS}, [3, 0]),
        ({"type": "fragile", "fingerprint": PLATES}, [1]),
        ({"queue": "cpu"}, [3]),
        ({"queue": "default", "fingerprint": REFUSED}, [2]),
        ({"type": "absent"}, []),
    ],
)
async def test_the_list_can_be_filtered(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, query: dict[str, str], numbers: list[int]
) -> None:
    died = [
        (await die(redis, run_worker, [{"how": how, "number": number}]))[0]
        for number, how in enumerate(["drop", "miss", "fail"])
    ]
    died += await die(redis, run_worker, [{}], porous)
    assert await ids(client, **query) == [died[number] for number in numbers]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": "0"}, "query.limit"),
        ({"limit": "101"}, "query.limit"),
        ({"cursor": "nonsense"}, "query.cursor"),
        ({"cursor": "MSBh"}, "query.cursor"),
        ({"cursor": "ü"}, "query.cursor"),
        ({"queue": "nowhere"}, "query.queue"),
        ({"type": ""}, "query.type"),
        ({"fingerprint": "x" * 201}, "query.fingerprint"),
        ({"about": "x" * 65}, "query.about"),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused_by_its_field(
    client: httpx.AsyncClient, query: dict[str, str], field: str
) -> None:
    assert faulty_fields(await client.get(DEAD, params=query)) == [field]


async def test_groups_count_jobs_that_died_of_the_same_error(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    await die(redis, run_worker, [{"number": number} for number in range(3)])
    newest = (await die(redis, run_worker, [{"number": 9}]))[0]
    await die(redis, run_worker, [{"how": "fail"}])
    found = await get(client, GROUPS)
    first, second = found["groups"]
    assert (first["type"], first["queue"], first["fingerprint"], first["count"]) == ("fragile", "default", CUPS, 4)
    assert first["example"] == {"id": newest, "message": "cup 9"}
    assert datetime.fromisoformat(first["oldest_at"]) < datetime.fromisoformat(first["newest_at"])
    assert (second["fingerprint"], second["count"]) == (REFUSED, 1)
    assert found["more"] == 0
    one = await get(client, GROUPS, limit=1)
    assert [group["fingerprint"] for group in one["groups"]] == [CUPS] and one["more"] == 1
    only = await get(client, GROUPS, fingerprint=REFUSED)
    assert [group["count"] for group in only["groups"]] == [1]


async def test_a_group_leads_to_its_jobs_and_to_their_replay(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    died = await die(redis, run_worker, [{}] * 3)
    (group,) = (await get(client, GROUPS))["groups"]
    named = {"type": group["type"], "fingerprint": group["fingerprint"]}
    assert set(await ids(client, **named)) == set(died)
    done = await client.post(REPLAY, json=named)
    assert (done.status_code, done.json()["count"]) == (202, 3)
    assert await ids(client) == []


async def test_a_dry_run_says_what_a_replay_does_and_does_nothing(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    died = [(await die(redis, run_worker, [{"number": number}]))[0] for number in range(12)]
    looked = await client.post(REPLAY, json={"type": "fragile", "limit": 11, "dry_run": True})
    assert looked.status_code == 200
    assert looked.json() == {
        "dry_run": True,
        "count": 11,
        "ids": died[:10],
        "skipped": 0,
        "remaining": 1,
        "last_due_at": None,
    }
    assert await redis.zcard(QUEUE) == 0
    done = (await client.post(REPLAY, json={"type": "fragile", "limit": 11})).json()
    assert (done["dry_run"], done["count"], done["ids"], done["remaining"]) == (False, 11, died[:10], 1)
    assert await ids(client) == died[11:]
    assert (await client.get(f"/v1/jobs/{died[0]}")).json()["status"] == "queued"


async def test_a_replay_at_a_pace_spreads_the_due_times(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    died = [(await die(redis, run_worker, [{}]))[0] for _ in range(4)]
    done = (await client.post(REPLAY, json={"fingerprint": CUPS, "per_second": 0.1})).json()
    jobs = [(await client.get(f"/v1/jobs/{job_id}")).json() for job_id in died]
    assert [job["status"] for job in jobs] == ["queued", "deferred", "deferred", "deferred"]
    due = [datetime.fromisoformat(job["run_at"]) for job in jobs[1:]]
    assert [(later - earlier).total_seconds() for earlier, later in pairwise(due)] == [10, 10]
    assert done["last_due_at"] == jobs[-1]["run_at"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"queue": "default"}, "body"),
        ({"type": "fragile", "limit": 0}, "body.limit"),
        ({"type": "fragile", "limit": 10_001}, "body.limit"),
        ({"type": "fragile", "per_second": 0}, "body.per_second"),
        ({"type": "fragile", "per_second": -1}, "body.per_second"),
        ({"type": "fragile", "per_second": "fast"}, "body.per_second"),
        ({"type": "fragile", "queue": "nowhere"}, "body.queue"),
        ({"typ": "fragile", "fingerprint": "x"}, "body.typ"),
        ([], "body"),
    ],
)
async def test_a_replay_that_makes_no_sense_is_refused_by_its_field(
    client: httpx.AsyncClient, body: Any, field: str
) -> None:
    assert faulty_fields(await client.post(REPLAY, json=body)) == [field]


async def test_to_replay_in_bulk_is_an_administrators_right(open_client: OpenClient, settings: Settings) -> None:
    keyed = type(settings).model_validate({**settings.model_dump(), "api_keys": "writer-0123456789:read+write"})
    async with open_client(keyed) as client:
        client.headers["Authorization"] = "Bearer writer-0123456789"
        assert (await client.get(DEAD)).status_code == 200
        details = problem_of(await client.post(REPLAY, json={"type": "fragile"}), 403, "forbidden")
        assert "'admin'" in details["detail"]


async def test_a_filter_that_matches_more_groups_than_are_looked_at_does_its_work_step_by_step(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = await die(redis, run_worker, [{"how": "drop"}, {"how": "miss"}])
    monkeypatch.setattr(dead_jobs, "MAX_GROUPS", 1)
    found = (await client.get(GROUPS)).json()
    assert (len(found["groups"]), found["more"], found["complete"]) == (1, 0, False)
    assert set(await ids(client, type="fragile")) == set(died)
    replayed = [(await client.post(REPLAY, json={"type": "fragile"})).json() for _ in died]
    assert [(done["count"], done["remaining"]) for done in replayed] == [(1, 1), (1, 0)]


async def test_an_expired_job_is_not_listed(client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker) -> None:
    died = await die(redis, run_worker, [{}] * 3)
    await redis.delete(keys.result(died[1]))
    assert set(await ids(client)) == {died[0], died[2]}


async def test_a_replayed_webhook_is_delivered_under_its_id(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [410]
    args = {"url": receiver.url, "event": "user.created", "data": {"id": 7}}
    path = (await client.post("/v1/jobs/webhook", json=args)).headers["location"]
    async with run_worker([webhook]):
        dead = (await client.get(path, params={"wait": 10})).json()
        assert (dead["status"], dead["error"]["fingerprint"]) == (
            "failed",
            "Fail@errand.webhooks.delivery:_check_taken",
        )
        await client.post(REPLAY, json={"type": "webhook"})
        again = (await client.get(path, params={"wait": 10})).json()
    assert (again["status"], again["attempt"], again["args"]) == ("succeeded", 1, dead["args"])
    assert {request.headers["webhook-id"] for request in receiver.requests} == {dead["id"]}
    assert len(receiver.requests) == 2


async def test_dead_deliveries_are_apart_by_endpoint_and_those_of_one_are_replayed_alone(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    endpoints: dict[str, dict[str, Any]] = {"acme": {"retry_s": []}, "acme-2": {}}
    for name, options in endpoints.items():
        made = await client.put(f"/v1/webhook-endpoints/{name}", json={"url": receiver.url, **options})
        assert made.status_code == 201
    # the one to a URL has the fingerprint that all had before deliveries were apart
    to = [{"endpoint_id": "acme"}, {"endpoint_id": "acme"}, {"endpoint_id": "acme-2"}, {"url": receiver.url}]
    receiver.answers = [500, 500, 500, 410]
    died: list[str] = []
    async with run_worker([webhook]):
        for args in to:
            put = await client.post("/v1/jobs/webhook?max_tries=1", json={**args, "event": "user.created", "data": {}})
            ended = (await client.get(f"/v1/jobs/{put.json()['id']}?wait=30")).json()
            assert ended["status"] == "failed"
            died.append(ended["id"])
        refused = "errand.webhooks.delivery:_check_taken"
        groups = (await get(client, GROUPS))["groups"]
        assert {(group["about"], group["fingerprint"], group["count"]) for group in groups} == {
            ("acme", f"acme/Fail@{refused}", 2),
            ("acme-2", f"acme-2/Retry@{refused}", 1),
            (None, f"Fail@{refused}", 1),
        }
        (group,) = (await get(client, GROUPS, type="webhook", about="acme"))["groups"]
        assert group["example"]["id"] == died[1] and "500" in group["example"]["message"]
        assert datetime.fromisoformat(group["oldest_at"]) < datetime.fromisoformat(group["newest_at"])
        assert await ids(client, about="acme") == [died[1], died[0]]
        of_acme = {"type": "webhook", "about": "acme", "per_second": 100}
        assert (await client.post(REPLAY, json={**of_acme, "dry_run": True})).json()["count"] == 2
        done = (await client.post(REPLAY, json=of_acme)).json()
        assert (done["count"], done["ids"], done["remaining"]) == (2, died[:2], 0)
        for job_id in died[:2]:
            assert (await client.get(f"/v1/jobs/{job_id}?wait=30")).json()["status"] == "succeeded"
        assert await ids(client) == [died[3], died[2]]
        assert (await client.post(REPLAY, json={"fingerprint": f"Fail@{refused}"})).json()["ids"] == [died[3]]
    assert {request.headers["webhook-id"] for request in receiver.requests[4:6]} == set(died[:2])


async def test_more_than_a_page_are_listed_and_replayed_at_a_pace_over_http(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    died = await die(redis, run_worker, [{}] * 1_000)
    (group,) = (await get(client, GROUPS))["groups"]
    assert group["count"] == 1_000
    assert set(await ids(client, limit=100)) == set(died)
    done = (await client.post(REPLAY, json={"type": "fragile", "limit": 10_000, "per_second": 100})).json()
    assert (done["count"], done["skipped"], done["remaining"]) == (1_000, 0, 0)
    due = [at_ms for _, at_ms in await redis.zrange(QUEUE, 0, -1, withscores=True)]
    assert len(due) == 1_000 and max(due) - min(due) > 5_000


async def test_a_replayed_job_runs_whatever_died_of_it_before(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    (job_id,) = await die(redis, run_worker, [{}])
    async with run_worker([fragile]):
        for _ in range(3):
            (before,) = await ids(client)
            first = (await client.get(f"/v1/jobs/{job_id}")).json()
            done = (await client.post(REPLAY, json={"type": "fragile"})).json()
            assert (before, done["count"]) == (job_id, 1)
            again = (await client.get(f"/v1/jobs/{job_id}", params={"wait": 10})).json()
            assert (again["status"], again["attempt"]) == ("failed", 1)
            # not as texts: a whole second has no fraction
            assert datetime.fromisoformat(again["finished_at"]) > datetime.fromisoformat(first["finished_at"])
