"""`errand dev`: a changed file is what runs next, and no job loses a try to that."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from tests.processes.conftest import ROOT, House
from tests.waiting import eventually_sync

JOBS = """
import asyncio
from pydantic import BaseModel
from errand import Context, job

EDITION = 1

class Nothing(BaseModel): ...

@job()
async def edition(ctx: Context, args: Nothing) -> int:
    return EDITION

@job(max_tries=1)
async def waits_for_the_second(ctx: Context, args: Nothing) -> int:
    while EDITION == 1:
        await asyncio.sleep(0.01)
    return EDITION
"""


def test_a_change_hands_back_what_runs_and_the_new_code_runs_it(
    new_house: Callable[..., House], tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    file = code / "dev_jobs.py"
    file.write_text(JOBS)
    house = new_house(root=code, environment={"PYTHONPATH": f"{ROOT}:{code}"})
    running = house.start("errand", "dev", "--packages", "dev_jobs")
    said = house.log("errand")

    eventually_sync(lambda: house.answers("/readyz"))
    assert house.ended(house.post("/v1/jobs/edition", json={}))["result"] == 1
    waits = house.post("/v1/jobs/waits_for_the_second", json={})
    eventually_sync(lambda: house.get(waits["id"])["status"] == "in_progress")
    file.write_text(JOBS.replace("EDITION = 1", "EDITION ="))
    eventually_sync(lambda: said.read_text().count("ended with exit code 1: change a file") == 2)
    file.write_text(JOBS.replace("EDITION = 1", "EDITION = 2"))
    eventually_sync(lambda: house.answers("/readyz"))
    done = house.ended(waits)
    assert (done["status"], done["result"]) == ("succeeded", 2)
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["handed_back", "succeeded"]

    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0
    eventually_sync(house.redis_is_stopped)
