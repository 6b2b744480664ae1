"""An ordered endpoint gets its events one after another, in the order in which they were put."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from aiohttp import web
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError, OutOfMemoryError

from errand.job.control import Snooze
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.redis.cluster.partitions import Partitions
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.endpoints import EndpointLines
from errand.webhooks.endpoints.gates import lines as module
from errand.wire import keys
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.peers import HttpReceiver
from tests.waiting import eventually
from tests.webhooks.endpoints.test_endpoints import EVENT, ended, make, send


def numbers(receiver: HttpReceiver) -> list[int]:
    return [json.loads(request.body)["data"] for request in receiver.requests]


async def is_first(lines: EndpointLines, message: str, job_id: str = "no-job") -> bool:
    try:
        await lines.wait("one", message, job_id=job_id)
    except Snooze as put_back:
        return put_back.code != "endpoint_order"
    return True


async def put_job(redis: ArqRedis, *, delay_ms: int = 0) -> str:
    queue = Queue(redis, name=WEBHOOK_QUEUE, ended_ttl_s=60)
    return (await queue.enqueue("webhook", {"endpoint_id": "one", **EVENT}, delay_ms=delay_ms)).job_id


async def test_events_come_in_their_order_from_two_workers_and_a_failure_holds_up_those_behind_it(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await make(client, "one", receiver.url, ordered=True, retry_s=[1])
    receiver.answers = [204, 503]
    jobs = [(await send(client, data=number))["deliveries"][0]["job_id"] for number in range(8)]
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(run_worker([webhook]))
        for job_id in jobs:
            assert (await ended(redis, job_id)).status == "succeeded"
    assert numbers(receiver) == [0, 1, 1, 2, 3, 4, 5, 6, 7]
    assert not await redis.exists(keys.webhook_line("one"), keys.webhook_line_jobs("one"))


async def test_one_that_has_failed_for_good_lets_the_next_go(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await make(client, "one", receiver.url, ordered=True, retry_s=[])
    receiver.answers = [web.Response(status=500), 204]
    jobs = [(await send(client, data=number))["deliveries"][0]["job_id"] for number in range(2)]
    async with run_worker([webhook]):
        assert [(await ended(redis, job_id)).status for job_id in jobs] == ["failed", "succeeded"]


async def test_what_waits_says_so_and_uses_no_try(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await make(client, "one", receiver.url, ordered=True)
    receiver.answers = [503]
    jobs = [(await send(client, data=number))["deliveries"][0]["job_id"] for number in range(2)]
    async with run_worker([webhook]):

        async def second_waits() -> bool:
            job = await read_job(redis, jobs[1], queues=[keys.queue(WEBHOOK_QUEUE)])
            return job is not None and job.put_back is not None and job.put_back.code == "endpoint_order"

        await eventually(second_waits)
    view = (await client.get(f"/v1/jobs/{jobs[1]}")).json()
    assert (view["waiting"]["code"], view["attempts"]) == ("endpoint_order", [])
    assert numbers(receiver) == [0]


async def test_a_later_one_that_is_looked_at_first_waits_for_the_earlier(redis: ArqRedis) -> None:
    lines, job_id = EndpointLines(Partitions([redis])), await put_job(redis)
    for message in ("first", "second"):
        assert await lines.join(["one"], message)
    assert not await lines.join(["one"], "first"), "it was in the line"
    assert not await is_first(lines, "second")
    assert await is_first(lines, "first", job_id)
    assert not await is_first(lines, "second") and not await is_first(lines, "not-announced")
    await lines.leave(["one"], "first")
    assert await is_first(lines, "second")


async def test_one_that_ended_without_a_word_is_removed_by_the_next(redis: ArqRedis) -> None:
    lines, job_id = EndpointLines(Partitions([redis])), await put_job(redis)
    assert await is_first(lines, "first", job_id)
    assert not await is_first(lines, "second")
    await Queue(redis, name=WEBHOOK_QUEUE, ended_ttl_s=60).cancel(job_id)
    assert await is_first(lines, "second")


async def test_those_that_were_announced_and_never_put_are_waited_for_a_while_together(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = EndpointLines(Partitions([redis]))
    for message in ("never-put", "nor-this", "nor-that"):
        await lines.join(["one"], message)
    assert not await is_first(lines, "second")
    assert not await is_first(lines, "second")
    monkeypatch.setattr(module, "PATIENCE_MS", 0)
    await asyncio.sleep(0.002)
    assert await is_first(lines, "second")


async def test_one_that_no_worker_has_looked_at_is_waited_for_as_long_as_its_job_is_there(
    redis: ArqRedis, client: httpx.AsyncClient, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers put it back before they look at the line, if the endpoint is busy or fails: the next must not overtake
    it, and is not to wait for long once it is made due."""
    await make(client, "one", receiver.url, ordered=True)
    answer = await send(client, data=0)
    lines, job_id = EndpointLines(Partitions([redis])), answer["deliveries"][0]["job_id"]
    await redis.zadd(keys.queue(WEBHOOK_QUEUE), {job_id: time.time() * 1000 + 600_000})
    await redis.set(keys.put_back(job_id), b"{}")
    monkeypatch.setattr(module, "PATIENCE_MS", -1)
    with pytest.raises(Snooze) as put_back:
        await lines.wait("one", "second", job_id="no-job")
    assert put_back.value.after_s < 2
    await Queue(redis, name=WEBHOOK_QUEUE, ended_ttl_s=60).cancel(job_id)
    assert await is_first(lines, "second")
    await lines.put({"one": job_id}, answer["id"])
    assert await redis.hkeys(keys.webhook_line_jobs("one")) == [b"second"], "the first has left"  # type: ignore[misc]


async def test_one_that_joins_after_the_clock_was_set_back_is_still_the_last(redis: ArqRedis) -> None:
    lines, job_id = EndpointLines(Partitions([redis])), await put_job(redis)
    await redis.zadd(keys.webhook_line("one"), {"first": (time.time() + 3600) * 1_000_000})
    await lines.join(["one"], "second")
    assert not await is_first(lines, "third") and await is_first(lines, "first", job_id)
    assert await redis.zrange(keys.webhook_line("one"), 0, -1) == [b"first", b"second", b"third"]


async def test_others_wait_until_the_first_is_due(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)  # the clock of a worker does not count
    lines, job_id = EndpointLines(Partitions([redis])), await put_job(redis, delay_ms=40_000)
    assert await is_first(lines, "first", job_id)
    with pytest.raises(Snooze) as put_back:
        await lines.wait("one", "second", job_id="no-job")
    assert 30 < put_back.value.after_s <= 41


async def test_events_that_are_refused_hold_up_nobody(
    redis: ArqRedis, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(client, "one", "https://acme.example/", ordered=True)

    async def full(*_: object, **__: object) -> None:
        raise OutOfMemoryError

    monkeypatch.setattr(Queue, "enqueue_many", full)
    assert (await client.post("/v1/webhook-events", json=EVENT)).status_code == 503
    assert not await redis.exists(keys.webhook_line("one"))


async def test_an_event_that_may_have_been_put_keeps_its_place(
    redis: ArqRedis, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(client, "one", "https://acme.example/", ordered=True)
    put, key = Queue.enqueue_many, {"Idempotency-Key": "once"}

    async def unheard(*given: Any, **more: Any) -> None:
        await put(*given, **more)
        raise ConnectionError("the answer was lost")

    with monkeypatch.context() as patched:
        patched.setattr(Queue, "enqueue_many", unheard)
        assert (await client.post("/v1/webhook-events", json={**EVENT, "id": "a"}, headers=key)).status_code == 503
    again = await client.post("/v1/webhook-events", json={**EVENT, "id": "a"}, headers=key)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    assert await redis.zrange(keys.webhook_line("one"), 0, -1) == [b"a"]
