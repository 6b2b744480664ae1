"""What a job leaves in the memory of its worker: nothing that only the garbage collector finds."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from arq.connections import ArqRedis
from pydantic import BaseModel

from errand import Context, job
from errand.queue.queue import Queue
from errand.worker.runners.under_way import UnderWay
from errand.worker.worker import Worker
from tests.conftest import RunWorker
from tests.waiting import eventually


class Nothing(BaseModel): ...


@job()
async def short(ctx: Context, args: Nothing) -> None: ...


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_attempts_are_freed_without_the_collector(
    redis: ArqRedis, run_worker: RunWorker, no_collector: None
) -> None:
    async with run_worker([short]) as worker:
        await Queue(redis, ended_ttl_s=60).enqueue_many("short", [{}] * 50)
        await eventually(lambda: all_done(worker))
        await eventually(few_are_kept, every_s=0.5)  # all that there is, is looked through


async def few_are_kept() -> bool:
    """The last task may be in its last step; and the loop may know timers of ended ones for a while."""
    return sum(isinstance(found, UnderWay) for found in gc.get_objects()) <= 1


async def all_done(worker: Worker) -> bool:
    return worker.jobs_complete == 50 and not worker.tasks
