"""The lines about priorities and limits in the report."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.bench.flow_side import KEYS, MANY
from tests.bench.report import Bar, Report
from tests.bench.runs import FLOW, in_turn

JOBS = 40_000
LATEST = MANY // 100
"""So many of another customer's jobs may start before the one."""


def flow(report: Report, peers: list[Any], *, runs: int) -> None:
    """No-op jobs with priorities, or with limits per key, against the same jobs without; one job behind very many."""
    taken = in_turn(
        {
            "free": partial(FLOW.measure, "throughput", JOBS, 0, 1),
            "priorities": partial(FLOW.measure, "throughput", JOBS, 0, 3),
            "keys": partial(FLOW.measure, "throughput", JOBS, 1, 1),
            "fairness": partial(FLOW.measure, "fairness"),
        },
        runs=runs,
    )
    report.section("Priorities and limits", flow.__doc__)
    for name, what, least in (
        ("priorities", "three priorities in use", 0.9),
        ("keys", f"limits of {KEYS:,} keys", 0.7),
    ):
        ratio = taken["free"]["us_per_job"] / taken[name]["us_per_job"]
        detail = f"{taken[name]['jobs_per_s']:,.0f} against {taken['free']['jobs_per_s']:,.0f} jobs/s"
        report.line(f"{what}, by CPU time", f"{ratio:.2f} x", detail, Bar.at_least(least, ratio))
    fairness = taken["fairness"]
    detail = f"after {fairness['before']:,.0f} of {MANY:,} of another's"
    bar = Bar.at_most(LATEST, fairness["before"])
    report.line("one customer's job behind many", f"{fairness['after_ms']:,.0f} ms", detail, bar)
