"""A worker whose Redis goes away waits, keeps its outcome, and goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel
from redis.exceptions import ConnectionError, OutOfMemoryError, ReadOnlyError, ResponseError

from errand.job.context import Context
from errand.job.job_type import job
from errand.monitor.job_snapshot import read_job
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.redis.outage import Outage, is_outage
from errand.worker.worker import Worker
from tests.conftest import running_worker
from tests.redis.test_connection import Proxy, client_of
from tests.redis_servers import RedisServer
from tests.waiting import eventually


class Nothing(BaseModel):
    pass


class Gate:
    """A proxy between worker and Redis that can be shut: connections are cut and none is let in.

    Or it falls silent: connections stay, and nothing passes until it flows again; or it forgets its connections, on
    which nothing passes ever again, while new ones are let in.
    """

    def __init__(self, upstream: str) -> None:
        """`upstream`: the server's socket."""
        if "://" in upstream:
            pytest.skip("a cluster has no socket to stand before")
        self._upstream = upstream
        self._open = asyncio.Event()
        self._open.set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def at(self, path: Path) -> AsyncIterator[str]:
        server = await asyncio.start_unix_server(self._pass_on, path)
        try:
            yield f"unix://{path}"
        finally:
            server.close()
            self.shut()

    def shut(self) -> None:
        self._open.clear()
        for writer in self._writers:
            writer.close()

    def open(self) -> None:
        self._open.set()

    def fall_silent(self) -> None:
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def forget_connections(self) -> None:
        self._flows.clear()
        self._flows = asyncio.Event()
        self._flows.set()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open.is_set():
            writer.close()
            return
        back, forth = await asyncio.open_unix_connection(self._upstream)
        self._writers |= {writer, forth}
        flows = self._flows
        await asyncio.gather(_copy(reader, forth, flows), _copy(back, writer, flows))
        self._writers -= {writer, forth}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event) -> None:
    try:
        while data := await reader.read(65_536):
            await flows.wait()
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def test_a_worker_that_starts_while_redis_is_away_waits_for_it(
    redis_url: str, redis: ArqRedis, tmp_path: Path
) -> None:
    ran = asyncio.Event()

    @job()
    async def note(ctx: Context, args: Nothing) -> None:
        ran.set()

    gate = Gate(redis_url.removeprefix("unix://"))
    await Queue(redis, ended_ttl_s=60).enqueue("note", {})
    async with gate.at(tmp_path / "gate.sock") as gated:
        gate.shut()
        async with running_worker(gated, job_types=[note]) as worker:

            async def noticed() -> bool:
                return worker._outage.lasts

            await eventually(noticed)
            gate.open()
            await asyncio.wait_for(ran.wait(), 60)


async def test_an_outcome_is_kept_through_an_outage_and_the_worker_goes_on(
    redis_url: str, redis: object, tmp_path: Path
) -> None:
    started, go_on, runs = asyncio.Event(), asyncio.Event(), 0

    @job()
    async def effect(ctx: Context, args: Nothing) -> int:
        nonlocal runs
        runs += 1
        started.set()
        await go_on.wait()
        return runs

    gate = Gate(redis_url.removeprefix("unix://"))
    direct = connect(redis_url, reply_timeout_s=5)
    queue = Queue(direct, ended_ttl_s=60)
    async with gate.at(tmp_path / "gate.sock") as url:
        pool = connect(url, reply_timeout_s=1)
        worker = Worker(
            job_types=[effect],
            redis_pool=pool,
            job_serializer=pool.job_serializer,
            job_deserializer=pool.job_deserializer,
            handle_signals=False,
            poll_delay=0.01,
        )
        running = asyncio.create_task(worker.async_run())
        put = await queue.enqueue("effect", {})
        await asyncio.wait_for(started.wait(), 60)
        gate.shut()
        go_on.set()  # the job ends while its outcome cannot be written

        async def noticed() -> bool:
            return worker._outage.lasts

        await eventually(noticed)
        assert not running.done(), "an outage must not end the worker"
        gate.open()

        async def written() -> bool:
            snapshot = await read_job(direct, put.job_id)
            return snapshot is not None and snapshot.status == "succeeded"

        await eventually(written)
        second = await queue.enqueue("effect", {})

        async def goes_on() -> bool:
            snapshot = await read_job(direct, second.job_id)
            return snapshot is not None and snapshot.status == "succeeded"

        await eventually(goes_on)
        assert runs == 2, "what was done once was not done again"
        await worker.close()
        await asyncio.gather(running, return_exceptions=True)
    await direct.aclose()


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (ConnectionError("cut"), True),
        (TimeoutError(), True),
        (ReadOnlyError("READONLY"), True),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), True),
        (ResponseError("MASTERDOWN Link with MASTER is down"), True),
        (ResponseError("WRONGTYPE Operation"), False),
        (ValueError("ours"), False),
    ],
)
def test_what_counts_as_an_outage(error: Exception, outage: bool) -> None:
    assert is_outage(error) is outage


async def test_what_is_no_outage_is_raised_at_once() -> None:
    async def broken() -> None:
        raise ResponseError("WRONGTYPE")

    with pytest.raises(ResponseError):
        await Outage().outlast(broken)


async def test_however_long_an_outage_lasts_redis_is_asked_again_within_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits_s: list[float] = []

    async def note(wait_s: float) -> None:
        waits_s.append(wait_s)

    monkeypatch.setattr("errand.redis.outage.asyncio.sleep", note)
    outage = Outage()
    for away_s in (0.0, 0.5, 3600.0):
        outage._since_s = time.monotonic() - away_s
        await outage.wait_out(ConnectionError("away"))
    assert all(low <= wait_s <= 1 for low, wait_s in zip((0.05, 0.15, 0.5), waits_s, strict=True))


async def test_closing_does_not_wait_for_a_redis_that_stays_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.worker.worker.CLOSE_LIMIT_S", 0.5)
    started, go_on = asyncio.Event(), asyncio.Event()

    @job()
    async def effect(ctx: Context, args: Nothing) -> None:
        started.set()
        await go_on.wait()

    with RedisServer(tmp_path).running() as server:
        async with Proxy.to(server) as proxy, client_of(server.url) as redis:
            async with running_worker(proxy.url, job_types=[effect]) as worker:
                await Queue(redis, ended_ttl_s=60).enqueue("effect", {})
                await asyncio.wait_for(started.wait(), 60)
                proxy.swallows = True
                go_on.set()
                await worker.close()
                assert proxy.swallows, "it did not wait until Redis was back"
