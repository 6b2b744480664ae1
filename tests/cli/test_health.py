"""`errand health`, as a container's health check calls it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import Context, job
from errand.cli.health import fault_of_api, fault_of_worker
from errand.wire import keys
from tests.conftest import make_settings, running_worker
from tests.waiting import eventually


class Nothing(BaseModel): ...


@job()
async def nothing(ctx: Context, args: Nothing) -> None: ...


async def test_a_worker_is_healthy_by_its_heartbeat_or_if_redis_cannot_be_asked(
    redis: ArqRedis, redis_url: str, tmp_path: Path
) -> None:
    settings = make_settings(tmp_path, redis_url=redis_url, worker_queues="default,own")

    async def fault() -> str | None:
        return await asyncio.to_thread(fault_of_worker, settings)

    assert f"worker on {socket.gethostname()}" in str(await fault())
    async with running_worker(redis_url, "own", job_types=[nothing]):

        async def reported() -> bool:
            return bool(await redis.zcard(keys.workers(keys.queue("own"))))

        await eventually(reported)
        assert await fault() is None
    away = make_settings(tmp_path, redis_url="redis://127.0.0.1:1")
    assert await asyncio.to_thread(fault_of_worker, away) is None
    assert "127.0.0.1:1/healthz" in str(fault_of_api(make_settings(tmp_path, port=1)))
