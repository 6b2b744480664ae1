"""`errand move` from one server to a cluster and back: every job is there, and runs."""

from __future__ import annotations

import pytest
from arq.connections import ArqRedis

from errand.monitor.job_snapshot import read_job
from errand.move.to_redis import Move, Server
from errand.queue.queue import Queue
from errand.redis.connection import Refused, check_welcome
from errand.wire import keys
from tests.conftest import running_worker
from tests.redis.test_sentinel import client_of, counting
from tests.redis_cluster import apart
from tests.servers import serving
from tests.worker.test_worker import ended


async def test_jobs_move_to_a_cluster_and_back(redis_url: str) -> None:
    ran: list[str] = []
    async with serving() as first, serving() as last, client_of(apart(redis_url, 1)) as cluster:
        async with client_of(first.url) as before, client_of(last.url) as after:
            queue = Queue(before, ended_ttl_s=60)
            ids = [(await queue.enqueue("counted", {}, delay_ms=delay_ms)).job_id for delay_ms in (0, 3_600_000)]
            # a moment with µs, which Redis 7.0 writes with more digits than Valkey
            await before.zadd(keys.ended_index(keys.queue("default"), "failed:other"), {"gone": 1796030000000.121})
            await moved(before, cluster)
            assert [(await read_job(cluster, job_id)).status for job_id in ids] == ["queued", "deferred"]  # type: ignore[union-attr]
            async with running_worker(apart(redis_url, 1), job_types=[counting(ran)]):
                assert (await ended(cluster, ids[0])).status == "succeeded"
            await moved(cluster, after)
            assert [(await read_job(after, job_id)).status for job_id in ids] == ["succeeded", "deferred"]  # type: ignore[union-attr]
            for left in (before, cluster):
                with pytest.raises(Refused, match="its jobs have been moved to"):
                    await check_welcome(left)
    assert ran == ids[:1]


async def moved(source: ArqRedis, target: ArqRedis) -> None:
    said: list[str] = []
    ends = Server(redis=source, shown="the one"), Server(redis=target, shown="the other")
    # the tests' own clients are connected to the cluster
    await Move(*ends, ignore_connections=True, say=said.append).run()
    assert "each of" in " ".join(said)
