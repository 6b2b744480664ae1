"""An installation under a load, step by step: what is accepted, what runs, what waits, and how busy each part is.

Jobs flow like water: in a step each part does as much as its processors allow, and no more than what has come to it.
If there are too few processors, all are slowed alike, since each waits for its turn as long. That Redis serves one
command at a time bounds all who ask the same master.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.bench.scale.costs import Costs, Step


@dataclass(frozen=True)
class Installation:
    """Its processes, and the processors that they share; None: each has one for itself."""

    putting: int
    running: int
    masters: int = 1
    cores: float | None = None
    job_us: float = 0
    """What a job itself computes in its worker, in µs."""


@dataclass
class Course:
    """What has happened."""

    step_s: float
    accepted: float = 0
    done: float = 0
    waiting: float = 0
    """Jobs that are due."""
    outside: float = 0
    """Jobs that nobody has accepted yet."""
    deepest: float = 0
    backlog_s: float = 0
    """For how long some job was due and did not run."""
    ended_s: float = 0
    """When the last job was done."""
    busiest: dict[str, float] = field(default_factory=dict)
    """How busy each part was at most, as a share of what it can do."""


def run(
    arrivals: Callable[[float], float],
    installation: Installation,
    costs: Costs,
    *,
    step_s: float,
    until_s: float,
    without_workers: tuple[float, float] = (0, 0),
) -> Course:
    """`arrivals` are the jobs a second that come at a time, in seconds; between the two times of `without_workers` no
    worker is there. Ends early if no job is left and none comes.
    """
    course, at_s, (from_s, to_s) = Course(step_s), 0.0, without_workers
    while at_s < until_s:
        here = replace(installation, running=0) if from_s <= at_s < to_s else installation
        course.outside += arrivals(at_s) * step_s
        at_s += step_s
        put, ran = _rates(course, here, costs)
        _move(course, put * step_s, ran * step_s, at_s)
        if course.waiting >= 0.5:
            course.backlog_s += step_s
        _note_busy(course, put, ran, installation, costs)
        if course.outside + course.waiting < 0.5 and arrivals(at_s) == 0:
            break
    return course


def _rates(course: Course, installation: Installation, costs: Costs) -> tuple[float, float]:
    """How many jobs a second are put and run in this step."""
    run_step = _with_work(costs.run, installation.job_us)
    put = min(course.outside / course.step_s, installation.putting * costs.put.alone_per_s)
    ran = min(course.waiting / course.step_s + put, installation.running * run_step.alone_per_s)
    slower = _slower(put, ran, installation, costs.put, run_step)
    return put * slower, ran * slower


def _slower(put: float, ran: float, installation: Installation, put_step: Step, run_step: Step) -> float:
    """How much of these rates is left if all wait for the busiest master, or share the cores."""
    redis = (put * put_step.redis_us + ran * run_step.redis_us) / 1e6
    processes = (put * put_step.process_us + ran * run_step.process_us) / 1e6
    by_redis = installation.masters / redis if redis > installation.masters else 1.0
    if installation.cores is None or redis + processes <= 0:
        return by_redis
    return min(by_redis, installation.cores / (redis + processes))


def _move(course: Course, put: float, ran: float, at_s: float) -> None:
    course.outside -= put
    course.accepted += put
    course.waiting += put - ran
    course.done += ran
    course.deepest = max(course.deepest, course.waiting)
    if ran:
        course.ended_s = at_s


def _note_busy(course: Course, put: float, ran: float, installation: Installation, costs: Costs) -> None:
    run_step = _with_work(costs.run, installation.job_us)
    busy = {
        "API": put / costs.put.alone_per_s / installation.putting,
        "workers": ran / run_step.alone_per_s / installation.running,
        "Redis": (put * costs.put.redis_us + ran * costs.run.redis_us) / 1e6 / installation.masters,
    }
    for part, share in busy.items():
        course.busiest[part] = max(course.busiest.get(part, 0), share)


def _with_work(step: Step, job_us: float) -> Step:
    """The step of jobs that compute so long themselves."""
    return Step(step.process_us + job_us, step.redis_us, 1e6 / (1e6 / step.alone_per_s + job_us))
