"""Jobs of the process pool: killed when their time is over or they are cancelled, bounded in memory."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel, SecretStr

from errand import Client, JobFailed, job
from settings import Settings
from tests.conftest import RunWorker
from tests.waiting import NEVER_S, eventually


class Where(BaseModel):
    path: str
    secret: SecretStr = SecretStr("")


@job(process=True, timeout_s=0.2, max_tries=1)
def too_long(args: Where) -> None:
    time.sleep(60)


@job(process=True, max_tries=1)
def writes_its_pid(args: Where) -> None:
    Path(args.path).write_text(str(os.getpid()))
    time.sleep(60)


@job(process=True, max_tries=1)
def too_large(args: Where) -> int:
    return len(bytearray(8 * 2**30))


@job(process=True)
def reads(args: Where) -> str:
    return f"{args.secret.get_secret_value()[:3]} {os.getpid() == int(args.path)}"


async def test_a_process_is_killed_and_its_memory_is_bounded(
    redis: ArqRedis, redis_url: str, run_worker: RunWorker, settings: Settings, tmp_path: Path
) -> None:
    async with Client(settings, redis_url=redis_url), run_worker([too_long, writes_its_pid, too_large, reads]):
        with pytest.raises(JobFailed, match="TimeoutError"):
            await (await too_long.enqueue(path="")).result(timeout_s=NEVER_S)
        with pytest.raises(JobFailed, match="MemoryError"):
            await (await too_large.enqueue(path="")).result(timeout_s=NEVER_S)
        read = await reads.enqueue(path=str(os.getpid()), secret=SecretStr("abcdef"))
        assert await read.result(timeout_s=NEVER_S) == "abc False"

        file = tmp_path / "pid"
        job = await writes_its_pid.enqueue(path=str(file))
        await eventually(lambda: found(file))
        assert await job.cancel() == "cancelling"
        with pytest.raises(JobFailed) as raised:
            await job.result(timeout_s=NEVER_S)
        assert raised.value.cancelled
        await eventually(lambda: gone(int(file.read_text())))


async def found(file: Path) -> bool:
    return await asyncio.to_thread(lambda: file.exists() and bool(file.read_text()))


async def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_function_of_another_shape_is_refused() -> None:
    async def coroutine(args: Where) -> None: ...

    def with_more(args: Where, more: int) -> None: ...

    for function in (coroutine, with_more):
        with pytest.raises(TypeError, match=r"a job of a process is `def"):
            job(process=True)(function)  # type: ignore[arg-type]
