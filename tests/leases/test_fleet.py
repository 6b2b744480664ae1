"""What a worker sees of the others of its queue."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis

from errand.leases.fleet import Fleet
from errand.leases.leases import Leases
from errand.monitor.queues import live_workers, read_queues, read_workers
from errand.wire import keys
from errand.wire.worker_report import WorkerReport

QUEUE = keys.queue(keys.DEFAULT_QUEUE)


@pytest.mark.parametrize("draining", [False, True])
async def test_a_worker_that_drains_knows_no_type(redis: ArqRedis, draining: bool) -> None:
    """It takes no more jobs: one of its types waits for another worker, and the reason says so."""
    report = WorkerReport(version="1", slots=1, types=("note",), loop_lag_ms=0, draining=draining)
    await Leases(redis, queue=QUEUE, worker="one", lease_s=10).renew({}, {}, report=report.as_json())
    seen = await Fleet(redis, queue=QUEUE, silent_s=10).look()
    assert seen.knows("note") is not draining


async def test_a_worker_that_died_before_the_clock_of_redis_was_set_back_does_not_live(redis: ArqRedis) -> None:
    """Its last heartbeat is to come yet."""
    await Leases(redis, queue=QUEUE, worker="host:1:a", lease_s=10).renew({}, {})
    assert await live_workers(redis, silent_s=10) == [1]
    await redis.zincrby(keys.workers(QUEUE), 3_600_000, "host:1:a")
    assert await live_workers(redis, silent_s=10) == [0]
    assert await read_workers([redis], ["default"], silent_s=10) == []
    assert [state.workers for state in await read_queues([redis], ["default"], silent_s=10)] == [0]
    assert (await Fleet(redis, queue=QUEUE, silent_s=10).look()).reports == []
