"""`errand health`, as a container's health check calls it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import Context, job
from errand.cli.health import fault_of_api, fault_of_worker
from errand.server.run import is_ready
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


def test_the_api_of_this_machine_is_not_asked_by_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container behind one would count as ill, and be started again and again."""
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        answers = [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"] * 2 + [b"SSH-2.0-other\r\n"] * 2
        threading.Thread(target=answer, args=(server, answers), daemon=True).start()
        settings = make_settings(tmp_path, port=server.getsockname()[1])
        assert fault_of_api(settings) is None and is_ready(settings)
        assert "SSH-2.0-other" in str(fault_of_api(settings)) and not is_ready(settings)


def answer(server: socket.socket, answers: Sequence[bytes]) -> None:
    for said in answers:
        connection, _ = server.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(said)
