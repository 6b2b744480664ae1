"""The same action on many jobs: looked at first, done at a pace, shown, stopped."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import httpx
import pytest
from arq.connections import ArqRedis

from errand.dashboard.pages import bulk as pages_bulk
from errand.wire import keys
from tests.conftest import OpenClient, make_settings
from tests.dashboard.page_seen import OWN_PAGE, SeenPage, pressed, seen
from tests.dashboard.signed_in import OWNER
from tests.http.answers_seen import LETTER
from tests.waiting import eventually

WRITER = "writer-0123456789"


async def put(client: httpx.AsyncClient, number: int) -> list[str]:
    batch = await client.post("/v1/jobs/welcome_email/batch?delay=1h", json=[LETTER] * number)
    return list(batch.json()["ids"])


async def sent(client: httpx.AsyncClient, path: str, fields: list[tuple[str, str]]) -> SeenPage:
    return SeenPage(await client.post(path, data=_multi(fields), headers=OWN_PAGE))


async def ended(client: httpx.AsyncClient, path: str, words: str) -> SeenPage:
    """The page of a run, once it says that."""

    async def look() -> SeenPage | None:
        page = await seen(client, path)
        return page if words in page.text else None

    return await eventually(look)


async def statuses(client: httpx.AsyncClient) -> dict[str, str]:
    return {job["id"]: job["status"] for job in (await client.get("/v1/jobs?limit=500")).json()["jobs"]}


async def test_chosen_jobs_are_looked_at_then_cancelled_and_others_stay(client: httpx.AsyncClient) -> None:
    chosen, other = (ids := await put(client, 5))[:4], ids[4]
    await client.post(f"/v1/jobs/{chosen[0]}/cancel")
    look = await sent(client, "/dashboard/bulk", [("action", "cancel"), *(("id", job_id) for job_id in chosen)])
    assert "Cancel 4 jobs" in look.text and "Nothing is done yet" in look.text
    assert list((await statuses(client)).values()).count("cancelled") == 1
    fields = [(attributes["name"], attributes.get("value", "")) for tag, attributes in look.tags if tag == "input"]
    began = await client.post("/dashboard/bulk/run", data=_multi(fields), headers=OWN_PAGE)
    run = await ended(client, began.headers["location"], "It has finished")
    assert "3 done, 1 skipped" in run.text and "only a job that has not ended" in run.text
    now = await statuses(client)
    assert {now[job_id] for job_id in chosen} == {"cancelled"} and now[other] == "deferred"


async def test_a_key_that_may_not_read_acts_on_jobs_that_it_names_alone(
    open_client: OpenClient, tmp_path: Path, redis_url: str
) -> None:
    settings = make_settings(tmp_path, redis_url=redis_url, api_keys=f"{OWNER},{WRITER}:write")
    async with open_client(settings) as client:
        client.headers["authorization"] = f"Bearer {OWNER}"
        ids = await put(client, 2)
        client.headers["authorization"] = f"Bearer {WRITER}"
        for path in ("/dashboard/bulk", "/dashboard/bulk/run"):
            answer = await client.post(path, data={"action": "cancel", "all": "yes"})
            assert answer.status_code == 403
        named = await client.post("/dashboard/bulk", data={"action": "cancel", "id": ids[0]})
        assert "Cancel 1 job" in SeenPage(named).text


def _multi(fields: list[tuple[str, str]]) -> dict[str, list[str]]:
    data: dict[str, list[str]] = {}
    for name, value in fields:
        data.setdefault(name, []).append(value)
    return data


async def test_a_run_keeps_its_pace_and_stops_when_it_is_asked_to(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(client, 20)
    look = await sent(client, "/dashboard/bulk", [("action", "reschedule"), ("all", "yes"), ("query", "")])
    began = await pressed(client, look, "Reschedule them", per_second="0.5", delay="2h")
    path = began.headers["location"]
    page = await ended(client, path, "It goes on")
    right_s = time.time
    monkeypatch.setattr("time.time", lambda: right_s() - 3600)  # the clock of this machine is set back
    assert (await pressed(client, page, "Stop")).status_code == 303
    stopped = await ended(client, path, "It has been stopped")
    done = re.search(r"(\d+) done", stopped.text)
    assert done is not None and int(done[1]) < 20


async def test_a_run_whose_process_ends_is_seen_as_interrupted_and_goes_on_where_it_stopped(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    """All that match: they are counted first, and come page by page."""
    ids = await put(client, 205)
    await client.post("/v1/jobs/webhook?delay=1h", json={"url": "https://a.example/", "event": "a", "data": 1})
    listed = await seen(client, "/dashboard/jobs?type=welcome_email&status=deferred")
    query = next(attributes["value"] for _, attributes in listed.tags if attributes.get("name") == "query")
    look = await sent(client, "/dashboard/bulk", [("action", "cancel"), ("all", "yes"), ("query", query)])
    assert "Cancel 205 jobs" in look.text
    path = (await pressed(client, look, "Cancel them", per_second="20")).headers["location"]

    async def two_done() -> bool:
        return list((await statuses(client)).values()).count("cancelled") > 1

    await eventually(two_done)
    kept = keys.bulk_run(path.rpartition("/")[2])
    record = json.loads(await redis.get(kept))
    (acting,) = pages_bulk._running
    acting.cancel()
    await asyncio.wait({acting})
    # as a process that was killed leaves it: what it has done since is not known, and it says nothing any more
    await redis.set(kept, json.dumps({**record, "saved_s": record["saved_s"] - 60, "per_second": 1000}))
    (later,) = await put(client, 1)
    assert "The run that was to cancel many jobs was interrupted after" in (await seen(client, "/dashboard")).text
    page = await seen(client, path)
    assert "It was interrupted" in page.text and {"Go on", "Leave it"} <= page.buttons
    assert (await pressed(client, page, "Go on")).headers["location"] == path
    done = re.search(r"(\d+) done, (\d+) skipped", (await ended(client, path, "It has finished")).text)
    assert done is not None and int(done[1]) + int(done[2]) == 205
    assert (await pressed(client, page, "Go on")).status_code == 409
    now = await statuses(client)
    assert {now.pop(job_id) for job_id in ids} == {"cancelled"}
    assert now.pop(later) == "deferred" and list(now.values()) == ["deferred"]
    assert "interrupted" not in (await seen(client, "/dashboard")).text


async def test_what_makes_no_sense_is_refused(client: httpx.AsyncClient) -> None:
    for fields, named in (
        ([("action", "eat"), ("id", "x")], "action"),
        ([("action", "retry")], "id"),
        ([("action", "retry"), ("all", "yes"), ("query", "status=dead")], "query.status"),
    ):
        page = await sent(client, "/dashboard/bulk", fields)
        assert page.answer.status_code == 422 and named in page.text
    slow = {"action": "retry", "id": "x", "per_second": "0"}
    assert (await client.post("/dashboard/bulk/run", data=slow, headers=OWN_PAGE)).status_code == 422
    assert (await client.get("/dashboard/bulk/none")).status_code == 404
