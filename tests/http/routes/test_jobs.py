"""`/v1/jobs/{id}`: look, wait, cancel, retry, forget."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis
from arq.constants import default_queue_name

from errand.queue.queue import Queue
from errand.webhooks import SCHEDULE_S
from errand.wire import codec, keys
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.dying import QUEUE, die, fragile
from tests.http.answers_seen import LETTER, faulty_fields, problem_of
from tests.http.routes.test_enqueue import EVENT
from tests.peers import HttpReceiver
from tests.waiting import NEVER_S, eventually


async def put_webhook(client: httpx.AsyncClient, receiver: HttpReceiver) -> str:
    """The path of a job that posts to the receiver."""
    args = {"url": receiver.url, "event": "user.created", "data": 1}
    return str((await client.post("/v1/jobs/webhook", json=args)).headers["location"])


async def put_letter(client: httpx.AsyncClient, **when: str) -> str:
    """The path of a job that no worker of these tests runs."""
    return str((await client.post("/v1/jobs/welcome_email", params=when, json=LETTER)).headers["location"])


async def test_an_ended_job_shows_its_result_and_every_attempt(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver, redis: ArqRedis
) -> None:
    receiver.answers = [503]
    path = await put_webhook(client, receiver)
    job_id = path.rpartition("/")[2]

    async def failed_once() -> dict[str, Any] | None:
        job: dict[str, Any] = (await client.get(path)).json()
        return job if job["status"] == "deferred" else None

    async with run_worker([webhook]) as worker:
        waiting = await eventually(failed_once)
        await redis.zadd(default_queue_name, {job_id: 1}, xx=True)
        done = (await client.get(path, params={"wait": 10})).json()
    (first,) = waiting["attempts"]
    assert (first["number"], first["outcome"], first["worker"]) == (1, "retry", worker.name)
    assert first["error"]["type"] == "Retry" and "503" in first["error"]["message"]
    assert first["due_at"] <= first["started_at"] <= first["ended_at"] < first["next_attempt_at"]
    # the server adds the wait by its own clock, a moment after the worker has planned it
    planned, due = (datetime.fromisoformat(at) for at in (first["next_attempt_at"], waiting["run_at"]))
    assert abs((due - planned).total_seconds()) < 1
    assert (done["status"], done["attempt"], done["max_tries"], done["error"]) == (
        "succeeded",
        2,
        webhook.max_tries,
        None,
    )
    assert done["result"]["status"] == 204
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["retry", "succeeded"]
    assert done["started_at"] <= done["finished_at"]
    assert done["links"] == {"self": path, "children": f"{path}/children"}


async def test_a_job_shows_when_it_would_be_tried_and_given_up_until_it_has_ended(client: httpx.AsyncClient) -> None:
    put = (await client.post("/v1/jobs/webhook", params={"delay": "1h"}, json=EVENT)).json()
    times = [datetime.fromisoformat(at) for at in put["planned_attempts"]]
    assert times[0] == datetime.fromisoformat(put["run_at"]) and len(times) == webhook.max_tries
    assert [(after - before).total_seconds() for before, after in pairwise(times)] == list(SCHEDULE_S)
    assert put["gives_up_at"] == put["planned_attempts"][-1]
    seen = (await client.get(put["links"]["self"])).json()
    assert (seen["planned_attempts"], seen["gives_up_at"]) == (put["planned_attempts"], put["gives_up_at"])
    ended = (await client.post(put["links"]["cancel"])).json()
    assert (ended["planned_attempts"], ended["gives_up_at"]) == (None, None)


async def test_a_job_of_a_type_that_only_others_know_is_shown_as_well(
    client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    put = await Queue(redis, ended_ttl_s=60).enqueue("fax", {"to": "1"})
    job = (await client.get(f"/v1/jobs/{put.job_id}")).json()
    assert (job["type"], job["status"], job["max_tries"]) == ("fax", "queued", None)


@pytest.mark.parametrize("wait", [0, 30])
async def test_an_unknown_job_is_a_problem_at_once(client: httpx.AsyncClient, wait: int) -> None:
    details = problem_of(await client.get("/v1/jobs/nope", params={"wait": wait}), 404, "unknown-job")
    assert "nope" in details["detail"]


async def test_a_wait_returns_as_soon_as_the_job_ends(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    path = await put_webhook(client, receiver)
    waiting = asyncio.create_task(client.get(path, params={"wait": 60}))
    async with run_worker([webhook]):
        ended, _ = await asyncio.wait({waiting}, timeout=NEVER_S / 2)
    assert ended and waiting.result().json()["status"] == "succeeded"


@pytest.mark.parametrize(("wait_s", "at_least_s"), [("0", 0), ("0.3", 0.3)])
async def test_a_wait_ends_when_its_time_is_over(client: httpx.AsyncClient, wait_s: str, at_least_s: float) -> None:
    path = await put_letter(client)
    started_s = time.monotonic()
    job = (await client.get(path, params={"wait": wait_s})).json()
    assert job["status"] == "queued"
    assert time.monotonic() - started_s >= at_least_s


@pytest.mark.parametrize("wait", ["61", "-1", "nan", "inf", "long"])
async def test_a_wait_is_a_number_of_seconds_up_to_a_minute(client: httpx.AsyncClient, wait: str) -> None:
    assert faulty_fields(await client.get(await put_letter(client), params={"wait": wait})) == ["query.wait"]


@pytest.mark.parametrize("when", [{}, {"delay": "1h"}])
async def test_a_job_that_has_not_started_can_be_cancelled_once(
    client: httpx.AsyncClient, when: dict[str, str]
) -> None:
    path = await put_letter(client, **when)
    cancelled = await client.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["finished_at"] is not None
    assert (await client.get(path)).json() == cancelled.json()
    again = problem_of(await client.post(f"{path}/cancel"), 409, "wrong-state")
    assert "cancelled" in again["detail"]


async def test_a_job_that_runs_is_cancelled_by_its_worker(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.delay_s = 30
    path = await put_webhook(client, receiver)
    async with run_worker([webhook]):
        await receiver.wait_for(1)
        answer = await client.post(f"{path}/cancel")
        assert (answer.status_code, answer.json()["status"]) in [(202, "in_progress"), (200, "cancelled")]
        ended = (await client.get(path, params={"wait": 10})).json()
    assert (ended["status"], ended["attempts"][0]["outcome"]) == ("cancelled", "cancelled")


async def test_a_job_that_has_ended_cannot_be_cancelled(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    path = await put_webhook(client, receiver)
    async with run_worker([webhook]):
        await client.get(path, params={"wait": 10})
    ended = problem_of(await client.post(f"{path}/cancel"), 409, "wrong-state")
    assert "succeeded" in ended["detail"]


async def test_an_unknown_job_cannot_be_cancelled(client: httpx.AsyncClient) -> None:
    problem_of(await client.post("/v1/jobs/nope/cancel"), 404, "unknown-job")


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_a_failed_or_cancelled_job_is_put_again_once(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, how: str
) -> None:
    if how == "failed":
        (job_id,) = await die(redis, run_worker, [{"number": 5}])
        path = f"/v1/jobs/{job_id}"
    else:
        path = await put_letter(client)
        await client.post(f"{path}/cancel")
    over = (await client.get(path)).json()
    assert (over["status"], over["links"]["retry"]) == (how, f"{path}/retry")
    again = await client.post(f"{path}/retry")
    assert (again.status_code, again.json()["status"], again.json()["attempt"]) == (202, "queued", 0)
    for field in ("id", "type", "args", "enqueued_at"):
        assert again.json()[field] == over[field]
    assert (await client.get(path)).json() == again.json()
    assert "queued" in problem_of(await client.post(f"{path}/retry"), 409, "wrong-state")["detail"]


async def test_one_of_several_retries_that_race_wins(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    (job_id,) = await die(redis, run_worker, [{}])
    answers = await asyncio.gather(*(client.post(f"/v1/jobs/{job_id}/retry") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9


async def test_a_job_that_waits_for_its_next_try_is_made_due_now(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [503]
    path = await put_webhook(client, receiver)

    async def failed_once() -> dict[str, Any] | None:
        job: dict[str, Any] = (await client.get(path)).json()
        return job if job["status"] == "deferred" else None

    async with run_worker([webhook]):
        waiting = await eventually(failed_once)
        assert (await client.post(waiting["links"]["retry"])).status_code == 202
        done = (await client.get(path, params={"wait": 60})).json()
    assert (done["status"], done["attempt"]) == ("succeeded", 2)
    assert done["attempts"][1]["started_at"] < done["attempts"][0]["next_attempt_at"]


@pytest.mark.parametrize(("when", "words"), [({}, "queued"), ({"delay": "1h"}, "deferred and has not been tried yet")])
async def test_a_job_that_waits_for_its_first_try_is_not_retried(
    client: httpx.AsyncClient, when: dict[str, str], words: str
) -> None:
    path = await put_letter(client, **when)
    before = (await client.get(path)).json()
    assert words in problem_of(await client.post(f"{path}/retry"), 409, "wrong-state")["detail"]
    assert (await client.get(path)).json() == before and "retry" not in before["links"]


async def test_a_job_that_runs_or_has_succeeded_is_not_retried(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.delay_s = 1.5
    path = await put_webhook(client, receiver)
    async with run_worker([webhook]):
        await receiver.wait_for(1)
        assert "in_progress" in problem_of(await client.post(f"{path}/retry"), 409, "wrong-state")["detail"]
        await client.get(path, params={"wait": 10})
    assert "succeeded" in problem_of(await client.post(f"{path}/retry"), 409, "wrong-state")["detail"]
    assert len(receiver.requests) == 1


async def test_a_job_whose_args_are_lost_is_not_retried(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker
) -> None:
    path = await put_letter(client)
    await redis.delete(keys.body(path.rpartition("/")[2]))
    async with run_worker([replace(fragile, queue="mail")]):
        await eventually(lambda: redis.exists(keys.result(path.rpartition("/")[2])))
    problem_of(await client.post(f"{path}/retry"), 409, "nothing-to-retry")
    assert (await client.get(path)).json()["status"] == "failed"


@pytest.mark.parametrize("first", [{}, {"delay": "2h"}])
async def test_a_job_that_waits_is_given_another_time(client: httpx.AsyncClient, first: dict[str, str]) -> None:
    put = (await client.post("/v1/jobs/welcome_email", params=first, json=LETTER)).json()
    moved = await client.post(put["links"]["reschedule"], params={"run_at": "2999-01-01T00:00:00Z"})
    assert (moved.status_code, moved.json()["status"]) == (200, "deferred")
    assert moved.json()["run_at"] == moved.json()["planned_attempts"][0] == "2999-01-01T00:00:00Z"
    now = await client.post(put["links"]["reschedule"], params={"delay": "0"})
    assert (now.status_code, now.json()["status"]) == (200, "queued")


@pytest.mark.parametrize(
    "when", [{}, {"delay": "soon"}, {"run_at": "tomorrow"}, {"delay": "5", "run_at": "2030-01-01T00:00:00Z"}]
)
async def test_another_time_must_be_a_time_that_exists(client: httpx.AsyncClient, when: dict[str, str]) -> None:
    path = await put_letter(client)
    before = (await client.get(path)).json()
    assert faulty_fields(await client.post(f"{path}/reschedule", params=when))[0] in ("query.delay", "query.run_at")
    assert (await client.get(path)).json() == before


async def test_a_job_that_runs_or_has_ended_keeps_its_time(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.may_answer.clear()
    path = await put_webhook(client, receiver)
    async with run_worker([webhook]):
        await receiver.wait_for(1)
        refused = await client.post(f"{path}/reschedule", params={"delay": "1h"})
        assert "in_progress" in problem_of(refused, 409, "wrong-state")["detail"]
        receiver.may_answer.set()
        assert "reschedule" not in (await client.get(path, params={"wait": 10})).json()["links"]
    refused = await client.post(f"{path}/reschedule", params={"delay": "1h"})
    assert "succeeded" in problem_of(refused, 409, "wrong-state")["detail"]
    problem_of(await client.post("/v1/jobs/nope/reschedule", params={"delay": "1h"}), 404, "unknown-job")


@pytest.mark.parametrize("how", ["failed", "cancelled", "succeeded"])
async def test_an_ended_job_can_be_forgotten(
    client: httpx.AsyncClient, redis: ArqRedis, run_worker: RunWorker, receiver: HttpReceiver, how: str
) -> None:
    if how == "failed":
        path = f"/v1/jobs/{(await die(redis, run_worker, [{}]))[0]}"
    elif how == "cancelled":
        path = await put_letter(client)
        await client.post(f"{path}/cancel")
    else:
        path = await put_webhook(client, receiver)
        async with run_worker([webhook]):
            await client.get(path, params={"wait": 10})
    assert (await client.get(path)).json()["status"] == how
    gone = await client.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    problem_of(await client.get(path), 404, "unknown-job")
    problem_of(await client.delete(path), 404, "unknown-job")
    assert (await client.get("/v1/dead-jobs/groups")).json()["groups"] == []
    assert await redis.keys(f"*{path.rpartition('/')[2]}*") == []
    assert await redis.exists(keys.dead(QUEUE), keys.dead_by_group(QUEUE)) == 0


async def test_a_job_that_has_not_ended_cannot_be_forgotten(client: httpx.AsyncClient) -> None:
    path = await put_letter(client)
    assert "queued" in problem_of(await client.delete(path), 409, "wrong-state")["detail"]
    assert (await client.get(path)).json()["status"] == "queued"


@pytest.mark.parametrize(("method", "path"), [("POST", "/retry"), ("DELETE", "")])
async def test_an_ended_job_of_a_queue_of_others_is_left_to_them(
    client: httpx.AsyncClient, redis: ArqRedis, method: str, path: str
) -> None:
    theirs = Queue(redis, name="theirs", ended_ttl_s=60)
    put = await theirs.enqueue("fax", {})
    await theirs.cancel(put.job_id)
    details = problem_of(await client.request(method, f"/v1/jobs/{put.job_id}{path}"), 409, "queue-of-others")
    assert "theirs" in details["detail"]
    assert (await client.get(f"/v1/jobs/{put.job_id}")).json()["status"] == "cancelled"


@pytest.mark.parametrize(("method", "path"), [("POST", "/retry"), ("DELETE", "")])
async def test_an_unknown_job_can_be_neither_retried_nor_forgotten(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    problem_of(await client.request(method, f"/v1/jobs/nope{path}"), 404, "unknown-job")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/{}"),
        ("POST", "/v1/jobs/{}/cancel"),
        ("POST", "/v1/jobs/{}/retry"),
        ("DELETE", "/v1/jobs/{}"),
    ],
)
async def test_a_text_that_is_too_long_for_an_id_is_refused(client: httpx.AsyncClient, method: str, path: str) -> None:
    assert faulty_fields(await client.request(method, path.format("x" * 129))) == ["path.id"]


STOCK_JOB: dict[str, Any] = {"t": None, "f": "any", "a": [], "k": {}, "et": 1}


@pytest.mark.parametrize("due", [math.inf, -math.inf, 1e300, -1e17])
async def test_a_stock_job_that_is_due_past_the_calendar_can_be_read_rescheduled_and_cancelled(
    client: httpx.AsyncClient, redis: ArqRedis, due: float
) -> None:
    await redis.set(keys.body("endless"), codec.dumps(STOCK_JOB))
    await redis.zadd(QUEUE, {"endless": due})
    shown = await client.get("/v1/jobs/endless")
    assert shown.json()["run_at"] == ("1970-01-01T00:00:00Z" if due < 0 else "9999-12-31T23:59:59Z")
    assert (await client.post("/v1/jobs/endless/reschedule", params={"delay": "1h"})).status_code == 200
    await redis.zadd(QUEUE, {"endless": due})
    tag = (await client.get("/v1/jobs/endless")).headers["etag"]
    assert (await client.post("/v1/jobs/endless/cancel", headers={"If-Match": tag})).status_code == 200


@pytest.mark.parametrize("fields", [{"f": None}, {"k": [1]}])
async def test_a_job_whose_body_has_fields_of_other_types_can_be_read_and_cancelled(
    client: httpx.AsyncClient, redis: ArqRedis, fields: dict[str, Any]
) -> None:
    await redis.set(keys.body("odd"), codec.dumps(STOCK_JOB | fields))
    await redis.zadd(QUEUE, {"odd": 9e12})
    assert (await client.get("/v1/jobs/odd")).json()["type"] == codec.UNREADABLE
    assert (await client.post("/v1/jobs/odd/cancel")).json()["status"] == "cancelled"


@pytest.mark.parametrize(
    "result",
    [
        b"\x80\x04\x95pickle",
        *(
            codec.dumps({**STOCK_JOB, "t": 1, "s": True, "r": 1, "st": 2, "ft": 3, "q": QUEUE, "id": "odd"} | fields)
            for fields in ({"f": None}, {"k": [1]}, {"q": None}, {"et": 10**30}, {"attempts": [{"x": 1}]})
        ),
    ],
)
async def test_a_job_whose_result_cannot_be_read_has_ended_and_can_be_forgotten(
    client: httpx.AsyncClient, redis: ArqRedis, result: bytes
) -> None:
    await redis.set(keys.result("odd"), result)
    job = (await client.get("/v1/jobs/odd")).json()
    assert (job["status"], job["type"], job["error"]["type"]) == ("failed", codec.UNREADABLE, "UnreadableResult")
    assert (await client.post("/v1/jobs/odd/retry")).status_code == 409
    assert (await client.delete("/v1/jobs/odd")).status_code == 204
    assert (await client.get("/v1/jobs/odd")).status_code == 404


async def test_an_id_is_escaped_in_links(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    await redis.set(keys.body("a b\r\nc?ä"), codec.dumps(STOCK_JOB))
    await redis.zadd(QUEUE, {"a b\r\nc?ä": 9e12})
    path = "/v1/jobs/a%20b%0D%0Ac%3F%C3%A4"
    assert (await client.get(path)).json()["links"]["self"] == path
    cancelled = await client.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.headers["content-location"]) == (200, path)
