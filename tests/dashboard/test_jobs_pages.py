"""The pages of jobs, as they are read and used without scripts."""

from __future__ import annotations

import re

import httpx
import pytest
from arq.connections import ArqRedis

from errand.monitor.job_snapshot import read_job
from errand.wire import keys
from jobs.welcome_email import welcome_email
from tests.conftest import OpenClient, RunWorker
from tests.dashboard.page_seen import OWN_PAGE, SeenPage, foreign_tags, pressed, seen
from tests.http.answers_seen import LETTER

HOSTILE = "<script>fire()</script>\"'><img src=x onerror=fire()> \u202e javascript:fire()"


async def put(client: httpx.AsyncClient, query: str = "") -> str:
    return str((await client.post(f"/v1/jobs/welcome_email{query}", json=LETTER)).json()["id"])


async def test_the_overview_says_whether_all_is_right(
    open_client: OpenClient, run_worker: RunWorker, redis: ArqRedis
) -> None:
    async with open_client() as client:
        doubtful = await seen(client, "/dashboard")
        assert doubtful.title == "⚠ 1 Errand"
        assert "nothing is written to disk" in doubtful.text and "appendonly yes" in doubtful.text
    await redis.config_set("appendonly", "yes")
    async with open_client() as client:
        async with run_worker([welcome_email]):
            well = await seen(client, "/dashboard")
            assert "Everything is all right" in well.text and well.title == "✓ Errand"
            assert (await seen(client, "/dashboard/")).title == well.title
        front = await client.get("/", headers={"Accept": "text/html,*/*"})
        assert (front.status_code, front.headers["location"]) == (303, "/dashboard")
        await put(client)
        await client.post("/v1/queues/cpu/pause")
        page = await seen(client, "/dashboard")
    await redis.config_set("appendonly", "no")
    assert page.title == "⚠ 2 Errand" and "The queue cpu is paused" in page.text
    assert "No live worker serves the queue mail" in page.text
    assert page.links["due"].endswith("/jobs?status=queued")


async def test_the_list_filters_and_leads_on(client: httpx.AsyncClient) -> None:
    ids = [await put(client, f"?delay={hours}h") for hours in range(1, 54)]
    first = await seen(client, "/dashboard/jobs?type=welcome_email&status=deferred&queue=&find=")
    assert [text for text in first.links if text in ids] == ids[:2:-1]
    second = await seen(client, first.links["Older"])
    assert [text for text in second.links if text in ids] == ids[2::-1]
    assert "Older" not in second.links and "status=deferred" in second.links["Newest"]
    assert "No job matches" in (await seen(client, "/dashboard/jobs?queue=cpu")).text
    found = await client.get("/dashboard/jobs", params={"find": ids[7]})
    assert (found.status_code, found.headers["location"]) == (303, f"/dashboard/jobs/{ids[7]}")


async def test_jobs_are_found_by_unique_key_and_by_what_stands_in_their_args(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    held = await put(client, "?delay=1h&unique_key=ada-42")
    found = await client.get("/dashboard/jobs", params={"find": "ada-42"})
    assert found.headers["location"] == f"/dashboard/jobs/{held}"
    grace = {"to": "grace@example.com", "name": "Grace"}
    ids = [(await client.post("/v1/jobs/welcome_email?delay=2h", json=grace)).json()["id"] for _ in range(52)]
    page = await seen(client, "/dashboard/jobs?find=GRACE%40&status=deferred")
    assert [text for text in page.links if text in ids] == ids[:1:-1] and held not in page.links
    # a run over many goes by the filter alone: it would take all that the search has left out
    assert "every page" not in page.text and "every page" in (await seen(client, "/dashboard/jobs")).text
    rest = await seen(client, page.links["Older"])
    assert [text for text in rest.links if text in ids] == ids[1::-1]
    nothing = await seen(client, "/dashboard/jobs?find=nothing")
    assert "in none of the newest 10,000" in nothing.text
    # what is hidden cannot be guessed at: args of a type that is not known are all hidden
    await redis.enqueue_job("strange", token="hunter2")
    assert "in none" in (await seen(client, "/dashboard/jobs?find=hunter2")).text
    # nor by the form of another type, which has an arg of that name
    strange = await redis.enqueue_job("strange", name="hunter2")
    assert strange is not None
    form = await seen(client, f"/dashboard/job-types/welcome_email?like={strange.job_id}", status=404)
    assert "hunter2" not in form.answer.text


@pytest.mark.parametrize("query", ["status=dead", "queue=none", "since=yesterday", "cursor=x"])
async def test_a_bad_filter_is_a_page_that_says_so(client: httpx.AsyncClient, query: str) -> None:
    page = await seen(client, f"/dashboard/jobs?{query}", status=422)
    assert f"query.{query.partition('=')[0]}" in page.text


async def test_a_job_is_given_another_time_run_cancelled_retried_and_deleted(client: httpx.AsyncClient) -> None:
    path = f"/dashboard/jobs/{await put(client, '?delay=1h')}"
    page = await seen(client, path)
    assert {"Cancel", "Run now", "Reschedule"} <= page.buttons and "as was asked" in page.text
    moved = await pressed(client, page, "Reschedule", delay="2d")
    assert (moved.status_code, moved.headers["location"]) == (303, f"{path}?done=rescheduled")
    assert "in 2 d" in (await seen(client, moved.headers["location"])).text
    assert "queued" in (await _after(client, page, "Run now")).title
    cancelled = await _after(client, page, "Cancel")
    assert "cancelled" in cancelled.title and "Cancel" not in cancelled.buttons
    assert "queued" in (await _after(client, cancelled, "Retry")).title
    await _after(client, page, "Cancel")
    gone = await pressed(client, cancelled, "Delete")
    assert gone.headers["location"] == "/dashboard/jobs"
    assert "There is no job" in (await seen(client, path, status=404)).text
    refused = await client.post(f"{path}/reschedule", data={"delay": "1h", "run_at": "2030-01-01"}, headers=OWN_PAGE)
    assert refused.status_code == 422


async def test_a_delay_is_a_year_at_most_as_in_the_api(client: httpx.AsyncClient) -> None:
    job = await put(client, "?delay=1h")
    letter = {f"args.{name}": text for name, text in LETTER.items()}
    for delay in ("400d", "9" * 60, "9" * 60 + "w"):
        for path, args in ((f"/jobs/{job}/reschedule", {}), ("/job-types/welcome_email", letter)):
            answer = await client.post(f"/dashboard{path}", data={**args, "delay": delay}, headers=OWN_PAGE)
            assert answer.status_code == 422 and "31622400" in answer.text


async def _after(client: httpx.AsyncClient, page: SeenPage, button: str) -> SeenPage:
    return await seen(client, (await pressed(client, page, button)).headers["location"])


async def test_what_others_have_written_is_text_on_every_page(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    job_id = 'x"><script>fire()<b>'
    await redis.enqueue_job(HOSTILE, _job_id=job_id, note=HOSTILE, more={"<b>": [HOSTILE] * 3})
    listed = await seen(client, "/dashboard/jobs")
    pages = [listed, await seen(client, listed.links[job_id]), await seen(client, "/dashboard/jobs?find=<script>")]
    for page in pages:
        assert foreign_tags(page) == []
        assert [name for _, attributes in page.tags for name in attributes if name.startswith(("on", "style"))] == []
        assert "\u202e" not in page.text
        policy = page.answer.headers["content-security-policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy and "http" not in policy
    assert "\\u202e" in listed.text


async def test_a_payload_of_any_size_makes_a_page_of_a_bounded_one(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    letter = {**LETTER, "name": "x" * 3_000_000}
    job_id = await put(client, "?delay=1h")
    job = await read_job(redis, job_id, queues=[keys.queue("mail")])
    assert job is not None
    body = await redis.get(keys.body(job_id))
    await redis.set(keys.body(job_id), body.replace(b'"Ada"', f'"{letter["name"]}"'.encode()))
    page = await seen(client, f"/dashboard/jobs/{job_id}")
    assert len(page.answer.content) < 30_000 and "3,000,000 characters" in page.text


async def test_files_are_kept_by_their_content(client: httpx.AsyncClient) -> None:
    page = await seen(client, "/dashboard")
    (style,) = [attributes["href"] for tag, attributes in page.tags if attributes.get("rel") == "stylesheet"]
    answer = await client.get(style)
    assert answer.headers["content-type"].startswith("text/css") and "immutable" in answer.headers["cache-control"]
    assert (await client.get(re.sub("/static/[0-9a-f]+/", "/static/0/", style))).status_code == 404
    assert (await client.get("/dashboard/static/x/..%2frouter.py")).status_code == 404
