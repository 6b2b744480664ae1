"""A stock Arq queue, pickled as Arq does it: its jobs run in Errand, each once, also if the move is killed."""

from __future__ import annotations

import asyncio
import pickle
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from arq.connections import RedisSettings, create_pool

from errand.move.arq_body import CannotMove, converted
from errand.wire import codec, keys
from tests.processes.conftest import ROOT, House, new_house  # noqa: F401  # a fixture
from tests.servers import serving
from tests.waiting import eventually

JOBS = """
from datetime import datetime
from pydantic import BaseModel
from errand import Context, job

class Sum(BaseModel):
    one: int
    other: int = 0
    at: datetime | None = None

@job()
async def add(ctx: Context, args: Sum) -> int:
    return args.one + args.other
"""
MANY = 600


async def test_its_jobs_keep_id_and_time_and_run_once_and_what_cannot_be_moved_stays(
    new_house: Callable[..., House],  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "sum_jobs.py").write_text(JOBS)
    house = new_house(environment={"JOB_PACKAGES": "sum_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}"})
    house.api()
    house.worker()
    async with serving() as server:
        stock = await create_pool(RedisSettings(port=server.port))
        now = [await stock.enqueue_job("add", number, other=1, _job_id=f"now-{number}") for number in range(MANY)]
        assert None not in now
        await stock.enqueue_job("add", 1, 2, datetime.now(UTC), _job_id="later", _defer_by=timedelta(days=2))
        await stock.enqueue_job("add", "no number", _job_id="wrong")
        await stock.enqueue_job("cron:tick", _job_id="cron")
        await stock.enqueue_job("add", 1, _job_id="runs")
        await stock.set(keys.lease("runs"), b"1")
        # an app's own id, which is another job's here
        taken = house.post("/v1/jobs/add", json={"one": 1})["id"]
        await stock.enqueue_job("add", 40, _job_id=taken)

        killed = house.start("errand", "move-from-arq", server.url)

        async def some_are_moved() -> bool:
            return int(await stock.zcard("arq:queue")) < MANY

        await eventually(some_are_moved)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        for job_id in [job.decode() for job in await stock.zrange("arq:queue", 0, -1)]:
            if job_id != "runs":
                await stock.delete(keys.lease(job_id))  # a minute later
        done = await asyncio.to_thread(house.start("errand", "move-from-arq", server.url).wait, 120)
        said = house.log("errand").read_text()
        assert done == 3, said
        assert "4 left where they are" in said and "another job of its id" in said
        assert "an Arq worker runs it now" in said and "write a schedule" in said
        assert {job.decode() for job in await stock.zrange("arq:queue", 0, -1)} == {"wrong", "cron", "runs", taken}
        await stock.aclose()

    ends = [house.ended({"id": f"now-{number}"}) for number in range(MANY)]
    assert [(job["result"], len(job["attempts"])) for job in ends] == [(number + 1, 1) for number in range(MANY)]
    later = house.get("later")
    due_in = datetime.fromisoformat(later["run_at"]) - datetime.now(UTC)
    assert later["status"] == "deferred" and timedelta(days=1.9) < due_in < timedelta(days=2)


class Boom:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code of a job ran')",)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ((Boom(),), "builtins.exec"),
        (({1, 2},), "no JSON form|not the same as JSON"),
        ((datetime.now(UTC),), "not the same as JSON"),
    ],
)
def test_a_pickle_runs_no_code_and_what_json_would_change_stays(args: tuple[Any, ...], reason: str) -> None:
    body = pickle.dumps({"t": None, "f": "anything", "a": args, "k": {}, "et": 1})
    with pytest.raises(CannotMove, match=reason):
        converted(body, {})


def test_args_that_no_json_can_hold_keep_no_other_job() -> None:
    within_itself: list[Any] = []
    within_itself.append(within_itself)
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    for value in (within_itself, deep, "\ud800", 10**5_000):
        body = pickle.dumps({"t": None, "f": "anything", "a": (value,), "k": {}, "et": 1})
        with pytest.raises(CannotMove, match="no JSON form"):
            converted(body, {})


def test_a_plain_functions_args_stay_as_they_are() -> None:
    body = pickle.dumps({"t": 2, "f": "plain", "a": (1, ("a", None)), "k": {"x": {"y": 1.5}}, "et": 7})
    name, text = converted(body, {})
    assert name == "plain"
    assert codec.loads(text) == {"t": 2, "f": "plain", "a": [1, ["a", None]], "k": {"x": {"y": 1.5}}, "et": 7}
    with pytest.raises(CannotMove, match="neither JSON nor a pickle"):
        converted(b"\x93msgpack", {})
