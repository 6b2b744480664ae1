"""The lines about the simulation in the report: what it predicts for a small case, and what that case does."""

from __future__ import annotations

import contextlib
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.report import Bar, Report
from tests.bench.runs import LIMIT_S, Candidate, Figures, in_turn, ours
from tests.bench.scale import simulation
from tests.bench.scale.costs import Costs, Step
from tests.bench.scale.simulation import Course, Installation
from tests.bench.server import private_redis

SMALL = Candidate("scale", ours("scale.small_side"))
JOBS = 30_000
STAT = Path("/proc/stat")
OFF = 0.15
"""By how much a prediction may be wrong."""


def scale(report: Report, peers: list[Any], *, runs: int) -> None:
    """One process puts 30,000 jobs as fast as it can while one worker runs them; they and Redis share the cores of this
    machine, less what other programs use of them. What the simulation says of it, which knows only the processor time
    that each of the two takes alone, against what happens."""
    taken = in_turn(
        {
            "put": partial(SMALL.measure, "put", JOBS),
            "run": partial(SMALL.measure, "run", JOBS),
            "both": beside_each_other,
        },
        runs=runs,
    )
    report.section("Simulated", " ".join((scale.__doc__ or "").split()))
    _report_costs(report, costs := costs_of(taken))
    seen = taken["both"]
    course = small_case(costs, seen["cores"])
    for what, said, was, unit in (
        ("until the last is done", course.ended_s, seen["took_s"], "s"),
        ("the most that wait", course.deepest, seen["deepest"], "jobs"),
    ):
        detail = f"{said:,.3g} {unit} said, {was:,.3g} measured"
        report.line(what, f"{said / was:.2f} x", detail, Bar.at_most(OFF, abs(said / was - 1)))


def costs_of(taken: dict[str, Figures]) -> Costs:
    """Who puts jobs waits for each answer of Redis; a worker has its next claim under way while it runs jobs."""
    put, run = taken["put"], taken["run"]
    alternating, overlapping = put["process_us"] + put["redis_us"], max(run["process_us"], run["redis_us"])
    return Costs(
        put=Step(put["process_us"], put["redis_us"], alone_per_s=1e6 / alternating),
        run=Step(run["process_us"], run["redis_us"], alone_per_s=1e6 / overlapping),
        queued_bytes=run["queued_bytes"],
        kept_bytes=run["kept_bytes"],
    )


def small_case(costs: Costs, cores: float) -> Course:
    """All jobs are there at once for a process that puts them, on a machine with so many cores for this."""
    installation = Installation(putting=1, running=1, cores=cores)
    step_s = 0.001
    return simulation.run(
        lambda at_s: JOBS / step_s if at_s == 0 else 0, installation, costs, step_s=step_s, until_s=LIMIT_S
    )


def beside_each_other() -> Figures:
    with private_redis() as url, contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(SMALL.started("work", JOBS, url=url)),
            stack.enter_context(SMALL.started("put", JOBS, 1, url=url)),
        ]
        before_s, started_s = busy_s(), time.monotonic()
        for process, _ in started:
            process.wait(LIMIT_S)
        others_s, took_s = busy_s() - before_s, time.monotonic() - started_s
        worked, put = (json.loads(out.read_text()) for _, out in started)
    others_s -= worked["used_s"] + put["process_us"] * JOBS / 1e6
    cores = (os.cpu_count() or 1) - max(others_s, 0) / took_s
    return {"took_s": worked["ended_s"] - put["started_s"], "deepest": worked["deepest"], "cores": cores}


def busy_s() -> float:
    """Processor time of all programs of this machine so far; 0 if the system does not say it (it is not Linux)."""
    if not STAT.exists():
        return 0.0
    user, nice, system, _idle, _wait, *interrupts = map(int, STAT.read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _report_costs(report: Report, costs: Costs) -> None:
    for what, step in (("to put a job", costs.put), ("to run it", costs.run)):
        detail = f"{step.process_us:.1f} µs, of Redis {step.redis_us:.1f} µs"
        report.line(what, f"{step.alone_per_s:,.0f}/s alone", detail)
    report.line("memory of a job", f"{costs.queued_bytes:.0f} bytes", f"{costs.kept_bytes:.0f} bytes when it has ended")
