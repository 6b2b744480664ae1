"""An endpoint is sent no more than its rate, by however many workers, and nothing while it has asked for a pause."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from aiohttp import web
from arq.connections import ArqRedis

from errand.job.control import Snooze
from errand.monitor.job_snapshot import read_job
from errand.settings import WEBHOOK_QUEUE
from errand.webhooks.endpoints import EndpointPace, Endpoints
from errand.webhooks.endpoints.store import THROTTLE_CAP_S
from errand.webhooks.turns.receivers import LATEST_S
from errand.wire import keys
from jobs.webhook import webhook
from tests.conftest import RunWorker
from tests.peers import HttpReceiver
from tests.waiting import eventually
from tests.webhooks.endpoints.test_endpoints import PATH, ended, make, send


async def taken(pace: EndpointPace, tries: int, *, rate_per_s: float) -> list[float | None]:
    """None for each delivery that is let through, else how long it waits."""
    ends: list[Any] = []
    for _ in range(tries):
        ends += await asyncio.gather(pace.take("one", rate_per_s=rate_per_s), return_exceptions=True)
    return [each.after_s if isinstance(each, Snooze) else each for each in ends]


async def test_workers_share_the_rate_and_what_is_put_back_comes_one_after_another(redis: ArqRedis) -> None:
    one, other = EndpointPace(redis), EndpointPace(redis)
    assert await taken(one, 3, rate_per_s=0.1) == [None, pytest.approx(10, abs=5), pytest.approx(20, abs=5)]
    assert await taken(other, 1, rate_per_s=0.1) == [pytest.approx(10, abs=5)]
    far = (await taken(one, 10, rate_per_s=0.1))[-1]
    assert far is not None and LATEST_S / 2 <= far <= LATEST_S


async def test_what_a_second_takes_may_come_at_once(redis: ArqRedis) -> None:
    waits_s = await taken(EndpointPace(redis), 40, rate_per_s=20)
    assert waits_s[:20] == [None] * 20 and waits_s.count(None) < 40
    assert 0 < await redis.pttl(keys.webhook_pace("one")) < 60_000


async def test_what_a_clock_that_was_set_back_has_left_holds_up_nothing_for_long(redis: ArqRedis) -> None:
    await redis.set(keys.webhook_pace("one"), "9" * 18)
    pace = EndpointPace(redis)

    async def goes() -> bool:
        return await taken(pace, 1, rate_per_s=20) == [None]

    await eventually(goes)


async def test_a_rate_that_nobody_knows_lets_nothing_through_for_a_moment(redis: ArqRedis) -> None:
    pace = EndpointPace(redis)

    async def away(**_: object) -> int:
        raise ConnectionError("away")

    pace._pace = away  # type: ignore[assignment]
    assert (await taken(pace, 1, rate_per_s=100)) == [pytest.approx(2, abs=0.1)]


async def test_deliveries_above_the_rate_wait_without_a_try(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await make(client, "one", receiver.url, rate_per_s=0.01)
    job_ids = [(await send(client))["deliveries"][0]["job_id"] for _ in range(2)]
    async with run_worker([webhook]):
        await receiver.wait_for(1)

        async def one_waits() -> bool:
            jobs = [await read_job(redis, job_id, queues=[keys.queue(WEBHOOK_QUEUE)]) for job_id in job_ids]
            return any(job is not None and job.put_back is not None and not job.attempts for job in jobs)

        await eventually(one_waits)
    views = [(await client.get(f"/v1/jobs/{job_id}")).json() for job_id in job_ids]
    waiting = [view["waiting"] for view in views if view["waiting"]]
    assert [each["code"] for each in waiting] == ["endpoint_rate"] and len(receiver.requests) == 1


async def test_a_receiver_that_asks_for_a_pause_gets_one_from_all_deliveries(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    await make(client, "one", receiver.url)
    receiver.answers = [web.Response(status=429, headers={"Retry-After": "86000"})]
    async with run_worker([webhook]):
        await send(client)
        await receiver.wait_for(1)
        await eventually(lambda: redis.hexists(keys.WEBHOOK_THROTTLED, "one"))  # type: ignore[arg-type,return-value]  # types both its clients
        later = (await send(client))["deliveries"][0]["job_id"]

        async def is_put_back() -> bool:
            job = await read_job(redis, later, queues=[keys.queue(WEBHOOK_QUEUE)])
            return job is not None and job.put_back is not None

        await eventually(is_put_back)
    assert len(receiver.requests) == 1
    assert (await client.get(f"/v1/jobs/{later}")).json()["waiting"]["code"] == "endpoint_throttled"
    shown = (await client.get(f"{PATH}/one")).json()
    listed = (await client.get(PATH)).json()["endpoints"][0]
    assert (shown["state"], listed["state"]) == ("throttled", "throttled")
    assert shown["throttled_until"] == listed["throttled_until"] != ""


@pytest.mark.parametrize(("status", "asks"), [(503, "0"), (500, "60"), (410, "60"), (204, "60")])
async def test_only_an_overloaded_receiver_that_names_a_time_is_left_alone(
    redis: ArqRedis, client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver, status: int, asks: str
) -> None:
    await make(client, "one", receiver.url, retry_s=[])
    receiver.answers = [web.Response(status=status, headers={"Retry-After": asks})]
    async with run_worker([webhook]):
        await ended(redis, (await send(client))["deliveries"][0]["job_id"])
    assert not await redis.exists(keys.WEBHOOK_THROTTLED)


async def test_a_pause_has_an_end_and_is_forgotten_then(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints, other = Endpoints(redis), Endpoints(redis)
    await endpoints.throttle("one", for_s=86_400)
    assert THROTTLE_CAP_S - 60 < endpoints.throttled_s("one") <= THROTTLE_CAP_S + 60
    assert other.throttled_s("one") == 0, "it has not looked yet"
    with monkeypatch.context() as patched:
        patched.setattr("time.time", lambda: 4e9)
        await other.get("one")
        assert 60 < other.throttled_s("one") <= THROTTLE_CAP_S, "the clock of the worker does not count"
        assert await redis.exists(keys.WEBHOOK_THROTTLED)
    monkeypatch.setattr("errand.webhooks.endpoints.store.FRESH_S", 0.0)
    clock_was_set_back_ms = await other.now_ms() + (THROTTLE_CAP_S + 60) * 1000
    for until_ms in (1000, clock_was_set_back_ms):
        await redis.hset(keys.WEBHOOK_THROTTLED, "one", str(until_ms))  # type: ignore[misc]  # types both its clients
        assert await other.throttled_until_ms(["one"]) == {}
        await other.get("one")
        assert other.throttled_s("one") == 0 and not await redis.exists(keys.WEBHOOK_THROTTLED)
