"""Computations in other processes, and what becomes of them when they are killed, late, or no longer wanted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand.job.context import Context
from errand.job.job_type import job
from errand.job.retry_policy import Delays
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.queue.queue import Queue
from errand.resources.openers import process_pool
from errand.resources.pool_process import NICE
from errand.resources.process_pool import CpuTimeSpent, PoolBroken, ProcessDied, ProcessPool
from tests.conftest import RunWorker
from tests.resources.computations import (
    compute,
    die_once,
    environment_seen,
    len_of_bytes,
    modules_loaded,
    note_and_hang,
    open_socket,
    pages_of_a_turn,
    refuse,
    sleep_with_cpu_limit,
    start_program,
)
from tests.waiting import NEVER_S, eventually


class Note(BaseModel):
    path: Path


@job(uses=[process_pool], retry=Delays([0.01]))
async def fragile(ctx: Context, args: Note) -> str:
    return await ctx.use(process_pool).run(10, die_once, args.path)


@pytest.fixture
async def pool() -> AsyncIterator[ProcessPool]:
    async with ProcessPool.open(processes=1) as opened:
        yield opened


async def process_of(note: Path) -> int:
    """The process that `note_and_hang` runs in, once it does."""

    async def look() -> int:
        return int((note.read_text() if note.exists() else "") or 0)  # noqa: ASYNC240  # a file of six bytes

    return await eventually(look)


async def gone(pid: int) -> None:
    """Once that child of ours has ended."""

    async def look() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    await eventually(look)


async def test_a_computation_returns_or_raises_as_it_would_here(pool: ProcessPool) -> None:
    assert await pool.run(10, os.getpid) != os.getpid()
    assert await pool.run(10, divmod, 7, 2) == (3, 1)
    with pytest.raises(ValueError, match="because"):
        await pool.run(10, refuse, "because")
    assert await pool.run(10, os.nice, 0) == min(os.nice(0) + NICE, 19)


async def test_a_computation_sees_no_secret_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = {
        "REDIS_URL": "redis://:first-hidden@h",
        "API_KEYS": "second-hidden-key-here",
        "AWS_SECRET_ACCESS_KEY": "third-hidden",
        "PLAIN_LOOKING": "https://user:fourth-hidden@h/",
        "HOOKS": "whsec_fifth-hidden",
    }
    for name, value in {**hidden, "MODEL_FOLDER": "/models"}.items():
        monkeypatch.setenv(name, value)
    async with ProcessPool.open(processes=1) as pool:
        variables, memory = await pool.run(20, environment_seen)
    assert variables.keys() & hidden.keys() == set()
    assert variables["MODEL_FOLDER"] == "/models" and "PATH" in variables
    assert b"hidden" not in memory


async def test_a_computation_over_its_time_has_its_process_killed(pool: ProcessPool, tmp_path: Path) -> None:
    running = asyncio.create_task(pool.run(0.3, note_and_hang, tmp_path / "note"))
    pid = await process_of(tmp_path / "note")
    with pytest.raises(TimeoutError, match=r"note_and_hang ran longer than 0\.3 s"):
        await running
    await gone(pid)
    assert await pool.run(10, os.getpid) != pid


async def test_a_computation_over_its_cpu_time_is_killed_however_long_it_waits(pool: ProcessPool) -> None:
    with pytest.raises(CpuTimeSpent, match="compute used more CPU time than it may"):
        await pool.run(60, compute, 0.1)
    # the limit of one computation is none for the next, and waiting does not count
    assert await pool.run(60, sleep_with_cpu_limit, 0.2) == "slept"


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not bound the address space of a process")
async def test_a_process_gets_no_more_memory_than_it_may_have() -> None:
    async with ProcessPool.open(processes=1, memory_limit_bytes=256 * 1024**2) as small:
        assert await small.run(60, len_of_bytes, 100 * 1024**2) == 100 * 1024**2
        with pytest.raises(MemoryError):
            await small.run(60, len_of_bytes, 300 * 1024**2)
        assert await small.run(10, divmod, 7, 2) == (3, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has seccomp")
async def test_a_process_opens_no_socket_and_starts_no_program(pool: ProcessPool) -> None:
    with pytest.raises(PermissionError):
        await pool.run(10, open_socket)
    with pytest.raises(PermissionError):
        await pool.run(10, start_program)
    assert await pool.run(10, divmod, 7, 2) == (3, 1)


async def test_the_wait_for_a_free_process_does_not_count(pool: ProcessPool) -> None:
    await asyncio.gather(*(pool.run(0.5, time.sleep, 0.2) for _ in range(4)))


async def test_a_cancelled_caller_ends_its_computation(pool: ProcessPool, tmp_path: Path) -> None:
    running = asyncio.create_task(pool.run(60, note_and_hang, tmp_path / "note"))
    pid = await process_of(tmp_path / "note")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(pid)
    assert await pool.run(10, os.getpid) != pid


async def test_a_killed_process_is_reported_and_replaced(pool: ProcessPool, tmp_path: Path) -> None:
    running = asyncio.create_task(pool.run(60, note_and_hang, tmp_path / "note"))
    os.kill(await process_of(tmp_path / "note"), signal.SIGKILL)
    with pytest.raises(ProcessDied, match="note_and_hang died with exit code -9"):
        await running
    assert await pool.run(10, divmod, 7, 2) == (3, 1)


async def test_the_end_of_a_terminal_ends_no_computation(pool: ProcessPool) -> None:
    """It reaches each process of the group: the worker drains, and what its jobs compute would count as a crash."""
    pid = await pool.run(10, os.getpid)
    os.kill(pid, signal.SIGHUP)
    assert await pool.run(10, os.getpid) == pid


async def test_a_process_killed_while_idle_costs_at_most_one_attempt(pool: ProcessPool) -> None:
    os.kill(await pool.run(10, os.getpid), signal.SIGKILL)

    async def works_again() -> int | None:
        try:
            return await pool.run(10, os.getpid)
        except (ProcessDied, PoolBroken):
            return None

    await eventually(works_again)


async def test_a_job_whose_process_is_killed_is_tried_again(
    redis: ArqRedis, run_worker: RunWorker, tmp_path: Path
) -> None:
    put = await Queue(redis, ended_ttl_s=60).enqueue("fragile", {"path": str(tmp_path / "note")})

    async def ended() -> JobSnapshot | None:
        snapshot = await read_job(redis, put.job_id)
        return snapshot if snapshot is not None and snapshot.ended else None

    async with run_worker([fragile]):
        done = await eventually(ended)
    assert (done.status, done.result) == ("succeeded", "alive")
    assert [attempt.outcome for attempt in done.attempts] == ["crashed", "succeeded"]
    assert done.attempts[0].error is not None and done.attempts[0].error.type == "ProcessDied"


async def test_closing_ends_the_computations_and_their_processes(tmp_path: Path) -> None:
    async with ProcessPool.open(processes=1) as pool:
        running = asyncio.create_task(pool.run(60, note_and_hang, tmp_path / "note"))
        pid = await process_of(tmp_path / "note")
        waiting = [asyncio.create_task(pool.run(60, divmod, 7, 2)) for _ in range(100)]
        await asyncio.sleep(0)  # they have begun to wait
        late = [asyncio.create_task(pool.run(60, divmod, 7, 2))]
    await gone(pid)
    ends = await asyncio.wait_for(asyncio.gather(running, *waiting, *late, return_exceptions=True), NEVER_S)
    assert {type(end) for end in ends} <= {ProcessDied, PoolBroken}, "nobody waits for ever"


WORKER = """
import asyncio, sys
from pathlib import Path
from errand.resources.process_pool import ProcessPool
from tests.resources.computations import note_and_hang

async def main():
    async with ProcessPool.open(processes=1) as pool:
        await pool.run(600, note_and_hang, Path(sys.argv[1]))

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_the_processes_of_a_killed_worker_end_themselves(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, str(tmp_path / "worker.py"), str(tmp_path / "note")]
    worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    await process_of(tmp_path / "note")
    worker.kill()
    # its processes write to the same pipe, which ends with the last of them
    assert worker.stdout is not None
    assert await asyncio.wait_for(worker.stdout.read(), 60) == b""
    await worker.wait()


async def test_a_process_loads_nothing_of_the_queue(pool: ProcessPool) -> None:
    """Redis, settings and logs would take more memory than most pictures do."""
    loaded = await pool.run(10, modules_loaded)
    assert "errand.resources.pool_process" in loaded
    assert loaded.isdisjoint({"redis", "arq", "structlog", "pydantic_settings", "fastapi"})


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
async def test_a_process_keeps_memory_that_one_picture_freed_for_the_next(pool: ProcessPool) -> None:
    """Else the kernel hands out 1,024 pages again, and clears them."""
    assert await pool.run(10, pages_of_a_turn) < 50
