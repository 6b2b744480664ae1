"""What so many jobs a day need, by the simulation: processes, masters, memory, money."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.bench.scale.costs import MEASURED, Costs
from tests.bench.scale.simulation import Course, Installation, run

DAY_S = 86_400
GIB = 2**30

JOBS_A_DAY = (1e6, 1e8, 1e9)


@dataclass(frozen=True)
class Assumptions:
    """What is no property of Errand: put your own figures here."""

    peak: float = 3
    """Jobs a second in the busiest minute, beside the mean of the day."""
    busy: float = 0.7
    """How busy a part may be in that minute."""
    job_us: float = 1_000
    """What a job computes in its worker, in µs; that it waits for others costs next to nothing."""
    args_bytes: int = 200
    kept_s: float = 3_600
    """How long an ended job is kept (`RESULT_TTL_S`)."""
    master_gib: float = 24
    """The memory of one master for jobs; as much again is left for copies while it writes its file."""
    core_month: float = 25
    """What a core costs a month, in dollars."""
    gib_month: float = 3
    """What a GiB of memory costs a month, in dollars."""
    copies: int = 2
    """Servers for each master: itself and its replicas."""
    outage_s: float = 600
    """For so long no worker is there, at the peak."""


@dataclass(frozen=True)
class Plan:
    """An installation for so many jobs a day, and what it needs."""

    jobs_a_day: float
    peak_per_s: float
    installation: Installation
    course: Course
    """Of a day."""
    outage: Course
    """Of the same day, in which no worker is there for a while."""
    memory_gib: float
    dollars_month: float
    one_is_enough_for: dict[str, float]
    """Up to how many jobs a day one of each part is enough."""


def curve(jobs_a_day: float, peak: float) -> Callable[[float], float]:
    """Jobs a second over a day: a wave whose crest, at noon, is `peak` times its mean."""
    mean, sharp = jobs_a_day / DAY_S, _sharpness(peak)
    scale = _mean_of_wave(sharp)
    return lambda at_s: mean * _wave(at_s, sharp) / scale if at_s < DAY_S else 0.0


def _wave(at_s: float, sharp: float) -> float:
    return math.exp(sharp * (math.cos(2 * math.pi * (at_s / DAY_S - 0.5)) - 1))


def _mean_of_wave(sharp: float) -> float:
    return sum(_wave(DAY_S * part / 288, sharp) for part in range(288)) / 288


def _sharpness(peak: float) -> float:
    """Of the wave whose crest is so many times its mean, found by halving."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 / _mean_of_wave(middle) < peak else (low, middle)
    return low


def plan(jobs_a_day: float, given: Assumptions, costs: Costs = MEASURED) -> Plan:
    """The smallest installation in which no part is busier than it may be, and a day of it."""
    peak_per_s = jobs_a_day / DAY_S * given.peak
    memory_gib = _memory_gib(jobs_a_day, peak_per_s, given, costs)
    needed = dict(_needed(peak_per_s, memory_gib, given, costs))
    installation = Installation(
        putting=math.ceil(needed["API"]),
        running=math.ceil(needed["workers"]),
        masters=math.ceil(max(needed["Redis"], needed["memory"])),
        job_us=given.job_us,
    )
    day = partial(run, curve(jobs_a_day, given.peak), installation, costs, until_s=2 * DAY_S)
    cores = installation.putting + installation.running + installation.masters * given.copies
    return Plan(
        jobs_a_day,
        peak_per_s,
        installation,
        day(step_s=60),
        day(step_s=30, without_workers=(DAY_S / 2, DAY_S / 2 + given.outage_s)),
        memory_gib,
        cores * given.core_month + 2 * memory_gib * given.copies * given.gib_month,
        {part: jobs_a_day / share for part, share in needed.items()},
    )


def _needed(peak_per_s: float, memory_gib: float, given: Assumptions, costs: Costs) -> Iterator[tuple[str, float]]:
    """How many of each part the busiest minute needs, as a fraction."""
    yield "API", peak_per_s / costs.put.alone_per_s / given.busy
    yield "workers", peak_per_s * (1 / costs.run.alone_per_s + given.job_us / 1e6) / given.busy
    yield "Redis", peak_per_s * (costs.put.redis_us + costs.run.redis_us) / 1e6 / given.busy
    yield "memory", memory_gib / given.master_gib


def _memory_gib(jobs_a_day: float, peak_per_s: float, given: Assumptions, costs: Costs) -> float:
    """Of what has ended and is kept, at the peak if that is for less than a day, and of what waits after an outage."""
    kept = min(peak_per_s * given.kept_s, jobs_a_day * max(given.kept_s / DAY_S, 1))
    waiting = peak_per_s * given.outage_s
    bytes_in_all = kept * (costs.kept_bytes + given.args_bytes) + waiting * (costs.queued_bytes + given.args_bytes)
    return bytes_in_all / GIB
