"""Jobs put by programs without an event loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from arq.connections import ArqRedis

from errand import QueueUnavailable, Settings, SyncClient
from errand.client.published_types import publish
from errand.client.sync_client import SyncJob
from errand.job.producing.producer import JobUpdate
from errand.worker.worker import Worker
from examples.orders import Confirmation, Order, confirm, pack, without_a_loop
from settings import Settings as OwnSettings
from tests.conftest import make_settings


async def test_the_same_calls_without_await(
    worker: Worker, redis: ArqRedis, redis_url: str, settings: OwnSettings
) -> None:
    await publish(redis, {"pack": {"queue": "default", "args_schema": pack.args_schema}})
    settings = make_settings(settings.data_dir, redis_url=redis_url)
    assert await asyncio.to_thread(without_a_loop, settings) == "cancelled"
    await asyncio.to_thread(use, settings)


def use(settings: Settings) -> None:
    with SyncClient(settings) as client:
        job = client.enqueue(confirm, Order(id=1, items=["saw"]))
        seen = [event.status for event in job.events()]
        assert (seen[-1], job.status(), job.existing) == ("succeeded", "succeeded", False)
        result: Confirmation = job.result()
        assert (result.order, client.job(job.id).status()) == (1, "succeeded")
        by_name = [
            client.enqueue("pack", {"id": 1, "items": ["saw"]}),
            *client.enqueue_many("pack", [{"id": 2, "items": [""]}]),
        ]
        by_type = client.options(max_tries=1).enqueue_many(pack, [Order(id=1, items=["saw"])])
        assert [job.result(timeout_s=30) for job in (*by_name, *by_type)] == [1, 1, 1]
        # threads share it
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(lambda number: client.enqueue(pack, id=number, items=["a"]).result(), range(8)))


def test_a_forked_process_opens_its_own(redis_url: str, settings: OwnSettings) -> None:
    client = SyncClient(make_settings(settings.data_dir, redis_url=redis_url))
    parents = client.enqueue(pack, id=1, items=["saw"])
    with client._own_lock:  # as if another thread opened it right then
        child = os.fork()
        if child == 0:
            # whatever is raised, this process must not go on with the tests
            os._exit(0 if enqueues(client) and is_refused(parents) else 1)
    _, status = os.waitpid(child, 0)
    assert (os.waitstatus_to_exitcode(status), parents.status()) == (0, "queued")
    client.close()


def enqueues(client: SyncClient) -> bool:
    try:
        return client.enqueue(pack, id=2, items=["saw"]).status() == "queued"
    except Exception:  # noqa: BLE001
        return False


def is_refused(parents: SyncJob[int]) -> bool:
    """No thread of this process would ever answer."""
    try:
        parents.status()
    except RuntimeError as error:
        return "client.job(id)" in str(error)
    return False


def test_who_waits_when_the_client_is_closed_waits_no_longer(redis_url: str, settings: OwnSettings) -> None:
    client = SyncClient(make_settings(settings.data_dir, redis_url=redis_url))
    job = client.enqueue(pack, id=1, items=["saw"])
    with ThreadPoolExecutor(2) as threads:
        events = job.events()
        assert next(events).status == "queued"
        result, more = threads.submit(job.result), threads.submit(list[JobUpdate], events)
        client.close()
        assert isinstance(result.exception(), QueueUnavailable)
        assert more.exception() or more.result() == []
    with pytest.raises(QueueUnavailable, match="closed"):
        job.status()
    assert client.job(job.id).status() == "queued"
    client.close()


def test_redis_away_is_unavailable(settings: OwnSettings) -> None:
    with SyncClient(settings, redis_url="redis://127.0.0.1:1") as client, pytest.raises(QueueUnavailable):
        client.enqueue(pack, id=1, items=["saw"])
