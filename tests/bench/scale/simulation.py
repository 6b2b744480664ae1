"""An installation under a load, step by step: what is accepted, what runs, what waits, and how busy each part is.

Jobs flow like water: in a step each part does as much as its processors allow, and no more than what has come to it.
Who shares processors gets equal shares of them, and what one leaves goes to the others. That Redis serves one command
at a time bounds all who ask the same master.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tests.bench.scale.costs import Costs, Step

ROUNDS, CORRECTION = 60, 0.2
"""So often shares are corrected in a step, and by so much of what is wrong: what one part leaves is another's then."""


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
    for _ in range(ROUNDS):
        fitted = _fitted(put, ran, installation, costs.put, run_step)
        if fitted == (put, ran):
            break
        put, ran = fitted
    return put, ran


def _fitted(put: float, ran: float, installation: Installation, put_step: Step, run_step: Step) -> tuple[float, float]:
    """The rates made smaller by as much as some part cannot keep up."""
    redis = (put * put_step.redis_us + ran * run_step.redis_us) / 1e6
    if redis > installation.masters:
        return put * installation.masters / redis, ran * installation.masters / redis
    if installation.cores is None:
        return put, ran
    needs = [put * put_step.process_us / 1e6, ran * run_step.process_us / 1e6, redis]
    of_put, of_ran, of_redis = (
        share / need if need else 1.0 for share, need in zip(shares(needs, installation.cores), needs, strict=True)
    )
    return put * min(of_put, of_redis) ** CORRECTION, ran * min(of_ran, of_redis) ** CORRECTION


def shares(needs: Sequence[float], cores: float) -> list[float]:
    """What each gets of the cores: as much as the others, or what it needs if that is less."""
    got = [0.0] * len(needs)
    left, hungry = cores, set(range(len(needs)))
    while hungry and left > 1e-12:
        equal = left / len(hungry)
        full = {one for one in hungry if needs[one] - got[one] <= equal}
        for one in full or hungry:
            taken = needs[one] - got[one] if full else equal
            got[one] += taken
            left -= taken
        hungry -= full or hungry
    return got


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
