"""Job types that die of what their args say, and a way to have many of them die by a real worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arq.connections import ArqRedis
from pydantic import BaseModel

from errand.job.context import Context
from errand.job.control import Fail
from errand.job.job_type import JobType, job
from errand.queue.queue import Queue
from errand.wire import keys
from errand.wire.indexes import DeadEntry
from tests.conftest import RunWorker
from tests.waiting import NEVER_S, eventually

QUEUE = keys.queue(keys.DEFAULT_QUEUE)
CUPS = "ValueError@tests.dying:drop"
PLATES = "KeyError@tests.dying:miss"
REFUSED = "Fail@tests.dying:fragile"


class Fault(BaseModel):
    how: str = "drop"
    number: int = 0


def drop(number: int) -> None:
    raise ValueError(f"cup {number}")


def miss(number: int) -> None:
    raise KeyError(f"plate {number}")


@job(max_tries=1)
async def fragile(ctx: Context, args: Fault) -> str:
    match args.how:
        case "drop":
            drop(args.number)
        case "miss":
            miss(args.number)
        case "fail":
            raise Fail("refused")
    return "whole"


@job(max_tries=1)
async def brittle(ctx: Context, args: Fault) -> None:
    drop(args.number)


@job(max_tries=1, queue="cpu")
async def porous(ctx: Context, args: Fault) -> None:
    drop(args.number)


async def die(
    redis: ArqRedis, run_worker: RunWorker, faults: Sequence[dict[str, Any]], job_type: JobType[Any, Any] = fragile
) -> list[str]:
    """Puts a job for each of those args and has them run until each is entered as dead; their ids."""
    queue = Queue(redis, name=job_type.queue, ended_ttl_s=60)
    before = await redis.zcard(keys.dead(queue.key))
    put = await queue.enqueue_many(job_type.name, faults)

    async def all_died() -> bool:
        return bool(await redis.zcard(keys.dead(queue.key)) == before + len(put))

    async with run_worker([job_type]):
        await eventually(all_died, timeout_s=3 * NEVER_S)  # ten thousand, of some
    return [one.job_id for one in put]


async def entries_of(redis: ArqRedis, queue: str = QUEUE) -> list[DeadEntry]:
    """What is in both indexes, which must hold the same."""
    newest_first = [entry.decode() for entry in await redis.zrevrange(keys.dead(queue), 0, -1)]
    by_group = [entry.decode() for entry in await redis.zrange(keys.dead_by_group(queue), 0, -1)]
    assert sorted(newest_first) == by_group
    return [DeadEntry.parse(entry) for entry in newest_first]
