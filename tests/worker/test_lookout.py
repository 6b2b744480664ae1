"""One look a second at all queues of a process finds what no wake-up tells of."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from arq.connections import ArqRedis

from errand.leases import wakeups
from errand.leases.leases import Claimed, Leases
from errand.redis.connection import connect
from errand.wire import keys
from errand.worker import worker as worker_module
from errand.worker.lookout import Lookout
from errand.worker.worker import Worker
from tests.conftest import running_worker
from tests.waiting import NEVER_S, eventually
from tests.worker.test_worker_engine import noting

QUEUES = ("mail", "default")
LOOK_S = 0.02
LONG_S = 2 * NEVER_S


async def until(look: Callable[[], bool]) -> None:
    async def looked() -> bool:
        return look()

    await eventually(looked)


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
async def workers(
    request: pytest.FixtureRequest, redis_url: str, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Worker]]:
    """A worker for each queue, at rest. By themselves they look again when a test has long been given up."""
    monkeypatch.setattr(worker_module, "REST_WITH_LOOKOUT_S", LONG_S)
    monkeypatch.setattr(wakeups, "BLOCK_S", LONG_S)  # behind it comes a claim
    options: dict[str, Any] = {"job_types": [noting(ran)], "poll_delay": getattr(request, "param", LONG_S)}
    async with running_worker(redis_url, "mail", **options) as mail:
        async with running_worker(redis_url, "default", **options) as default:
            await until(lambda: all(worker._wakeups.reserved for worker in (mail, default)))
            yield [mail, default]


@pytest.fixture
async def looking(redis_url: str, workers: list[Worker]) -> AsyncIterator[ArqRedis]:
    redis = connect(redis_url, reply_timeout_s=NEVER_S)
    async with Lookout(redis, workers, every_s=LOOK_S).running():
        yield redis
    await redis.aclose()


async def put(redis: ArqRedis, queue: str, **options: Any) -> str:
    """A stock producer's job: no wake-up comes with it."""
    put = await redis.enqueue_job("note", _queue_name=keys.queue(queue), **options)
    assert put is not None
    return put.job_id


@pytest.mark.usefixtures("looking")
@pytest.mark.parametrize("queue", QUEUES)
async def test_a_stock_producers_job_is_found(redis: ArqRedis, ran: list[str], queue: str) -> None:
    job_id = await put(redis, queue)

    await until(lambda: ran == [job_id])


@pytest.mark.usefixtures("looking")
async def test_a_deferred_one_is_awaited_until_it_is_due(redis: ArqRedis, ran: list[str]) -> None:
    later, sooner = await put(redis, "mail", _defer_by=0.3), await put(redis, "mail", _defer_by=0.1)

    await until(lambda: ran == [sooner, later])


@pytest.mark.usefixtures("looking")
async def test_a_job_that_another_worker_has_parked_is_found(redis: ArqRedis, ran: list[str]) -> None:
    job_id = await put(redis, "mail", _defer_by=3600)
    due_ms = await redis.zscore(keys.queue("mail"), job_id)
    await redis.zadd(keys.parked(keys.queue("mail"), "note"), {job_id: due_ms})

    await until(lambda: ran == [job_id])


async def test_workers_look_for_themselves_if_the_look_fails(
    redis: ArqRedis, looking: ArqRedis, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.set(keys.queue("mail"), "another program's")

    job_id = await put(redis, "default")

    await until(lambda: ran == [job_id])


@pytest.mark.parametrize("workers", [LOOK_S], indirect=True)
async def test_an_idle_process_makes_no_claims(
    redis: ArqRedis, looking: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims: list[int] = []

    async def claim(_: Leases, most: int) -> Claimed:
        claims.append(most)
        return Claimed([], due_in_ms=None, asked_s=time.monotonic())

    monkeypatch.setattr(Leases, "claim", claim)
    await redis.config_resetstat()

    async def has_looked_often() -> bool:
        stats: dict[str, dict[str, int]] = await redis.info("commandstats")
        return stats.get("cmdstat_evalsha", {"calls": 0})["calls"] > 20

    await eventually(has_looked_often)

    assert len(claims) <= len(QUEUES), "but for those that were on their way already"
