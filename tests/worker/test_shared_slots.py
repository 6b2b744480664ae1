"""Workers of several partitions share the slots of a queue: never more jobs at once than are configured, and in turns.

Here each has a queue of its own, which is to a worker what a partition is.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.worker import func

from errand.job.context import Context
from errand.job.job_type import job
from errand.queue.queue import Queue
from errand.worker.shared_slots import SharedSlots
from tests.conftest import running_worker
from tests.redis.test_outage import Gate
from tests.waiting import eventually
from tests.worker.test_worker_engine import Nothing

PARTS = ("one", "two", "three")
JOBS = 6


async def nothing(ctx: object) -> None: ...


@pytest.mark.parametrize("slots", [1, 2, 4])
async def test_no_more_jobs_run_at_once_than_are_configured_and_no_part_waits_for_all_of_another(
    redis: ArqRedis, redis_url: str, slots: int
) -> None:
    runs: list[str] = []
    at_once: list[int] = []

    @job()
    async def noted(ctx: Context, args: Nothing) -> None:
        runs.append(ctx.job_id.partition("-")[0])
        at_once.append(shared_use())
        await redis.ping()

    def shared_use() -> int:
        return sum(len(worker.tasks) for worker in workers)

    for part in PARTS:
        for number in range(JOBS):
            await Queue(redis, name=part, ended_ttl_s=60).enqueue("noted", {}, job_id=f"{part}-{number}")
    shared = SharedSlots(slots, workers=len(PARTS))
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                running_worker(redis_url, part, job_types=[noted], max_jobs=slots, slots=shared, poll_delay=60)
            )
            for part in PARTS
        ]

        async def all_have_run() -> bool:
            return len(runs) == JOBS * len(PARTS)

        await eventually(all_have_run)
        reported = [int(worker._report().slots) for worker in workers]
    assert max(at_once) <= slots
    assert sum(reported) == slots
    # each has had a turn before any has had its last
    assert all(runs.index(part) < JOBS * 2 for part in PARTS), runs


async def test_a_part_that_is_away_keeps_no_slot_from_the_others() -> None:
    class Part:
        held, room = 0, 0

        def make_room(self) -> None:
            self.room += 1

    away, other = Part(), Part()
    shared = SharedSlots(1, workers=2)
    shared.join(away)
    shared.join(other)
    shared.wait(away)
    assert (shared.room_for(away, used=0), shared.room_for(other, used=0)) == (1, 0)
    shared.leave_line(away)
    assert shared.room_for(other, used=0) == 1
    shared.wait(away)
    shared.take_turn(away)
    shared.wait(away)
    assert (shared.room_for(away, used=0), shared.room_for(other, used=0)) == (1, 1), "who had its turn is last"


async def test_a_part_that_stays_away_is_asked_without_a_slot(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, shared = Gate(redis_url.removeprefix("unix://")), SharedSlots(1, workers=2)
    seen: list[str] = []
    options: dict[str, Any] = {"functions": [func(nothing, name="nothing")], "slots": shared, "max_jobs": 1}
    async with (
        gate.at(tmp_path / "gate") as url,
        running_worker(url, "one", poll_delay=0.01, **options) as away,
        running_worker(redis_url, "two", **options),
    ):
        gate.shut()

        async def is_away() -> bool:
            return away._outage.lasts

        await eventually(is_away)
        wait_out = away._outage.wait_out

        async def waits(error: Exception) -> None:
            seen.append("waits")
            await wait_out(error)

        def note_turn(sharer: object) -> None:
            if sharer is away._intake:  # the other one polls meanwhile
                seen.append("takes a slot")

        monkeypatch.setattr(shared, "take_turn", note_turn)
        monkeypatch.setattr(away._outage, "wait_out", waits)

        async def has_waited() -> bool:
            return seen.count("waits") >= 3

        await eventually(has_waited)
        assert set(seen) == {"waits"}
        monkeypatch.undo()
        gate.open()
