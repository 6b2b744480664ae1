"""Jobs that start processes of their own, in every way there is: the worker goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.conftest import ROOT, House

JOBS = """
import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pydantic import BaseModel
from errand import Context, job

class How(BaseModel):
    start: str

def sleeps(): time.sleep(60)
def square(x): return x * x

def terminated(context):
    child = context.Process(target=sleeps)
    child.start()
    child.terminate()
    child.join()
    return child.exitcode

def pooled(context):
    with context.Pool(2) as pool:
        return sum(pool.map(square, range(4)))

def forked():
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def executed():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child.terminate()
    return child.wait()

WAYS = {"os.fork": forked, "subprocess": executed}
for name in ("fork", "spawn", "forkserver"):
    context = multiprocessing.get_context(name)
    # a child that is forked is there at once, and may be ended before it has run a line
    times = 20 if name == "fork" else 1
    WAYS[name] = lambda context=context, times=times: [terminated(context) for _ in range(times)][-1]
    WAYS[name + " pool"] = lambda context=context: pooled(context)

@job(max_tries=1)
async def starting(ctx: Context, args: How) -> int:
    return WAYS[args.start]()

@job(max_tries=1)
async def starting_in_thread(ctx: Context, args: How) -> int:
    return await asyncio.to_thread(WAYS[args.start])
"""
FORKING = ("os.fork", "fork", "fork pool")
WAYS = (*FORKING, "subprocess", "spawn", "spawn pool", "forkserver", "forkserver pool")


@pytest.fixture
def house(new_house: Callable[..., House], tmp_path: Path) -> House:
    (tmp_path / "starting_jobs.py").write_text(JOBS)
    return new_house(environment={"JOB_PACKAGES": "starting_jobs", "PYTHONPATH": f"{ROOT}:{tmp_path}"})


def test_a_job_that_ends_its_own_children_does_not_stop_the_worker(house: House) -> None:
    house.api()
    worker = house.worker()
    for type_name, ways in (("starting", WAYS), ("starting_in_thread", FORKING)):
        for start in ways:
            done = house.ended(house.post(f"/v1/jobs/{type_name}", json={"start": start}))
            assert done["result"] == (14 if "pool" in start else -15), (type_name, start)
            assert worker.poll() is None, f"{start} in {type_name} has ended the worker"
    assert "draining" not in house.log("jobs").read_text()
