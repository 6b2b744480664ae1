"""A Redis that is full takes no new jobs, and those that it has are run and ended."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.exceptions import OutOfMemoryError

from errand import Context, Delays, job
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from tests.conftest import running_worker
from tests.servers import MAKES, Server, client_of, serving
from tests.waiting import eventually
from tests.worker.test_worker_engine import Nothing


@pytest.fixture(params=MAKES)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    async with serving(request.param) as running:
        yield running


@job(max_tries=2, retry=Delays([0]))
async def fails_once(ctx: Context, args: Nothing) -> str:
    await ctx.progress(0.5)
    if ctx.attempt == 1:
        raise ValueError("the second attempt succeeds")
    return "done"


async def test_a_full_redis_refuses_new_jobs_and_drains_by_itself(server: Server) -> None:
    async with client_of(server) as client:
        queue = Queue(client, ended_ttl_s=600)
        put = [(await queue.enqueue("fails_once", {})).job_id for _ in range(300)]
        await client.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            await queue.enqueue("fails_once", {})
        async with running_worker(server.url, job_types=[fails_once], max_jobs=10):

            async def all_ended() -> bool:
                return bool(await client.zcard(queue.key) == 0)

            await eventually(all_ended)
        # Redis 7.0 refuses even reads in a transaction while it is full
        await client.config_set("maxmemory", 0)
        jobs = [await read_job(client, job_id) for job_id in put]
        assert {(job.status, job.result, len(job.attempts)) for job in jobs if job} == {("succeeded", "done", 2)}
