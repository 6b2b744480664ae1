"""Deliveries that wait for their receiver cost next to nothing, and are made as soon as it has room for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import httpx
import pytest
from arq.connections import ArqRedis
from pydantic_core import from_json

from errand.monitor.job_snapshot import read_job
from errand.monitor.waiting import why_waiting
from errand.queue.queue import Queue
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.turns.breaker import LEAST
from errand.wire import keys
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.peers import HttpReceiver
from tests.waiting import NEVER_S, eventually
from tests.webhooks.endpoints.test_endpoints import ended, make

QUEUE = keys.queue(WEBHOOK_QUEUE)


async def put(redis: ArqRedis, number: int, endpoint_id: str = "one") -> list[str]:
    queue = Queue(redis, name=WEBHOOK_QUEUE, ended_ttl_s=600)
    args = [{"endpoint_id": endpoint_id, "event": "a.b", "data": each} for each in range(number)]
    return [job.job_id for job in await queue.enqueue_many("webhook", args)]


async def have_ended(redis: ArqRedis, job_ids: Sequence[str], status: str = "succeeded") -> None:
    for job_id in job_ids:
        assert (await ended(redis, job_id)).status == status


async def wait(redis: ArqRedis, number: int) -> None:
    """Returns when so many wait for an endpoint."""

    async def look() -> bool:
        names = [key async for key in redis.scan_iter(f"errand:{QUEUE}:parked:@*")]
        return bool(sum([await redis.zcard(name) for name in names]) == number)

    await eventually(look)


async def test_what_waits_for_an_endpoint_that_hangs_is_not_claimed_again_and_again(
    redis: ArqRedis,
    client: httpx.AsyncClient,
    run_worker: RunWorker,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("errand.webhooks.turns.receivers.STUCK_S", 0.0)
    monkeypatch.setattr("errand.webhooks.turns.receivers.TURN_LIMIT_S", 0.0)
    await make(client, "one", receiver.url, concurrency=10)
    receiver.may_answer.clear()
    jobs = await put(redis, 600)
    async with run_worker([webhook]) as worker:
        await receiver.wait_for(10)
        await wait(redis, 590)
        assert worker.jobs_retried < 500, "the others were parked as they lay"
        before = worker.jobs_retried
        last = await read_job(redis, jobs[-1], queues=[QUEUE])
        assert last is not None
        why = await why_waiting(redis, last, silent_s=NEVER_S)
        assert why is not None and why.code == "endpoint_busy" and "as soon as there is room" in why.detail
        receiver.may_answer.set()
        await have_ended(redis, jobs)
        assert worker.jobs_retried - before < 100
    assert len(receiver.requests) == 600


async def test_what_a_worker_has_left_behind_is_delivered_by_another_or_ends_with_its_endpoint(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.may_answer.clear()
    jobs = {}
    for name in ("one", "two"):
        await make(client, name, receiver.url, concurrency=1)
        jobs[name] = await put(redis, 20, name)
    async with run_worker([webhook]):
        await receiver.wait_for(2)
        await wait(redis, 38)
    await client.put("/v1/webhook-endpoints/two", json={"url": receiver.url, "enabled": False})
    receiver.may_answer.set()
    async with run_worker([webhook]):
        await have_ended(redis, jobs["one"])
        await have_ended(redis, jobs["two"], "cancelled")


async def test_what_waits_for_an_endpoint_that_fails_is_made_when_it_has_recovered(
    redis: ArqRedis,
    client: httpx.AsyncClient,
    run_worker: RunWorker,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("errand.webhooks.turns.breaker.FIRST_WAIT_S", 0.0)
    monkeypatch.setattr("errand.webhooks.turns.waiting.LOOK_EVERY_S", 0.05)
    await make(client, "one", receiver.url, concurrency=1, retry_s=[1])
    receiver.answers = [503] * LEAST
    jobs = await put(redis, 60)
    async with run_worker([webhook]):
        await have_ended(redis, jobs)
    assert len(receiver.requests) == 60 + LEAST


async def test_what_waits_for_an_endpoint_that_begins_to_fail_says_so(
    redis: ArqRedis,
    client: httpx.AsyncClient,
    run_worker: RunWorker,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It had found the endpoint busy. More wait than one call looks at."""
    monkeypatch.setattr("errand.webhooks.turns.receivers.TURN_LIMIT_S", 0.0)
    monkeypatch.setattr("errand.leases.groups.groups.MAX_PARKED", 10)
    await make(client, "one", receiver.url, concurrency=LEAST, retry_s=[3600])
    receiver.may_answer.clear()
    receiver.answers = [503] * 100
    await put(redis, LEAST + 30)

    async def codes() -> Counter[str]:
        notes = [await redis.get(key) async for key in redis.scan_iter("errand:put-back:*")]
        return Counter(from_json(note)["code"] for note in notes)

    async with run_worker([webhook]):
        await wait(redis, 30)
        assert await codes() == {"endpoint_busy": 30}
        receiver.may_answer.set()

        async def all_say_so() -> bool:
            return set(await codes()) == {"endpoint_failing"}

        await eventually(all_say_so)


async def test_one_that_was_put_back_when_the_last_exchange_had_ended_is_made_without_waiting_for_a_look(
    redis: ArqRedis,
    client: httpx.AsyncClient,
    run_worker: RunWorker,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("errand.webhooks.turns.receivers.TURN_LIMIT_S", 0.0)
    monkeypatch.setattr("errand.webhooks.turns.waiting.LOOK_EVERY_S", 3600.0)
    await make(client, "one", receiver.url, concurrency=1)
    for _ in range(8):
        async with run_worker([webhook]):
            await have_ended(redis, await put(redis, 5))
