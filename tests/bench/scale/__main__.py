"""`python -m tests.bench.scale`: the tables of docs/scale.md, from the simulation; `--write` puts them there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

from tests.bench.scale.costs import MEASURED
from tests.bench.scale.plan import JOBS_A_DAY, Assumptions, Plan, plan

PAGE = Path(__file__).parent.parent.parent.parent / "docs" / "scale.md"
WEEK_S = 7 * 86_400
BETWEEN = re.compile(r"(<!-- simulated -->\n).*(<!-- /simulated -->)", re.DOTALL)


def tables() -> str:
    """All tables of the page: what was assumed, then each load."""
    given = Assumptions()
    parts = [
        "\n".join(["| assumed | |", "|---|---|", *_assumed(given)]),
        "\n".join(["| what a job costs | process | Redis | one process alone |", "|---|---|---|---|", *_costs()]),
        "One of each part is enough for so many jobs a day:",
        _limits(given),
        "What larger loads need:",
        _loads(given),
        "The same if ended jobs are kept for a week, the default:",
        _loads(replace(given, kept_s=WEEK_S)),
    ]
    return "\n\n".join(parts) + "\n"


def _assumed(given: Assumptions) -> Iterator[str]:
    for one in fields(given):
        yield f"| `{one.name}` | {getattr(given, one.name):,g} |"


def _costs() -> Iterator[str]:
    for name, step in (("to put it, by HTTP", MEASURED.put), ("to run it", MEASURED.run)):
        yield f"| {name} | {step.process_us:g} µs | {step.redis_us:g} µs | {step.alone_per_s:,.0f}/s |"
    yield f"| to keep it, beside its args | | {MEASURED.queued_bytes:g} bytes, then {MEASURED.kept_bytes:g} | |"


def _loads(given: Assumptions) -> str:
    plans = [plan(number, given) for number in JOBS_A_DAY]
    head = ["| jobs a day | " + " | ".join(f"{one.jobs_a_day:,.0f}" for one in plans) + " |", "|---" * 4 + "|"]
    rows = {
        "jobs a second, at the peak": [f"{one.peak_per_s:,.0f}" for one in plans],
        "API processes": [f"{one.installation.putting}" for one in plans],
        "worker processes": [f"{one.installation.running}" for one in plans],
        "masters of Redis": [f"{one.installation.masters}" for one in plans],
        "how busy: API, workers, Redis": [_busy(one) for one in plans],
        "jobs that wait after the outage": [f"{one.outage.deepest:,.0f}" for one in plans],
        "minutes until they are done": [f"{(one.outage.backlog_s - given.outage_s) / 60:,.0f}" for one in plans],
        "memory for jobs, GiB": [f"{one.memory_gib:,.1f}" for one in plans],
        "dollars a month": [f"{one.dollars_month:,.0f}" for one in plans],
    }
    return "\n".join([*head, *(f"| {what} | " + " | ".join(cells) + " |" for what, cells in rows.items())])


def _limits(given: Assumptions) -> str:
    one = plan(JOBS_A_DAY[0], given).one_is_enough_for
    kept_long = plan(JOBS_A_DAY[0], replace(given, kept_s=WEEK_S)).one_is_enough_for
    named = {
        "an API process": one["API"],
        f"a worker process, if a job computes {given.job_us:g} µs": one["workers"],
        "a worker process, if a job computes nothing": plan(JOBS_A_DAY[0], replace(given, job_us=0)).one_is_enough_for[
            "workers"
        ],
        "the processor of a Redis": one["Redis"],
        f"{given.master_gib:g} GiB of Redis, if ended jobs are kept for an hour": one["memory"],
        f"{given.master_gib:g} GiB of Redis, if they are kept for a week": kept_long["memory"],
    }
    rows = [f"| {what} | {_rounded(number):,} |" for what, number in named.items()]
    return "\n".join(["| | jobs a day |", "|---|---|", *rows])


def _rounded(number: float) -> int:
    """To two digits."""
    return int(float(f"{number:.2g}"))


def _busy(one: Plan) -> str:
    return ", ".join(f"{share:.0%}" for share in one.course.busiest.values())


def written(page: str) -> str:
    """The page with the tables of now."""
    return BETWEEN.sub(lambda found: f"{found[1]}{tables()}{found[2]}", page)


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(written(PAGE.read_text()))
    else:
        print(tables())
