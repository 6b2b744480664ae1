"""The simulation loses no job, knows which part is the limit, and is what docs/scale.md shows."""

from __future__ import annotations

import pytest

from tests.bench.scale.__main__ import PAGE, written
from tests.bench.scale.costs import Costs, Step
from tests.bench.scale.plan import DAY_S, Assumptions, curve, plan
from tests.bench.scale.simulation import Course, Installation, run

COSTS = Costs(
    put=Step(process_us=50, redis_us=10, alone_per_s=20_000),
    run=Step(process_us=100, redis_us=10, alone_per_s=10_000),
    queued_bytes=300,
    kept_bytes=600,
)
JOBS = 20_000


def all_at_once(installation: Installation, costs: Costs = COSTS) -> Course:
    return run(lambda at_s: JOBS / 0.001 if at_s == 0 else 0, installation, costs, step_s=0.001, until_s=100)


def test_with_a_core_for_each_the_slower_process_is_the_limit() -> None:
    course = all_at_once(Installation(putting=1, running=1))
    assert course.ended_s == pytest.approx(JOBS / 10_000, rel=0.01)
    assert course.deepest == pytest.approx(JOBS / 2, rel=0.01)
    assert course.accepted == pytest.approx(JOBS)
    assert course.done == pytest.approx(JOBS, abs=1)


def test_processes_that_share_a_core_take_as_long_as_all_their_work() -> None:
    course = all_at_once(Installation(putting=1, running=1, cores=1))
    work_s = JOBS * (50 + 10 + 100 + 10) / 1e6
    assert course.ended_s == pytest.approx(work_s, rel=0.02)


def test_one_master_bounds_all_and_a_second_one_carries_twice_as_much() -> None:
    costly = Costs(Step(1, 100, 1e6), Step(1, 100, 1e6), queued_bytes=0, kept_bytes=0)
    one, two = (all_at_once(Installation(putting=9, running=9, masters=masters), costly) for masters in (1, 2))
    assert one.ended_s == pytest.approx(JOBS * 200 / 1e6, rel=0.02)
    assert one.ended_s / two.ended_s == pytest.approx(2, rel=0.02)
    assert one.busiest["Redis"] == pytest.approx(1, rel=0.01)


def test_a_day_has_its_jobs_and_its_peak() -> None:
    load = curve(8.64e6, peak=3)
    assert sum(load(minute * 60) * 60 for minute in range(1_440)) == pytest.approx(8.64e6, rel=0.001)
    assert max(load(minute * 60) for minute in range(1_440)) == pytest.approx(300, rel=0.001)
    assert load(DAY_S) == 0


@pytest.mark.parametrize("jobs_a_day", [1e6, 1e9])
def test_a_planned_installation_is_as_busy_as_it_may_be_and_catches_up_after_an_outage(jobs_a_day: float) -> None:
    planned = plan(jobs_a_day, given := Assumptions(), COSTS)
    assert max(planned.course.busiest.values()) <= given.busy + 0.001
    assert planned.course.done == pytest.approx(jobs_a_day, rel=0.001)
    assert planned.course.deepest < 1
    assert planned.outage.deepest == pytest.approx(planned.peak_per_s * given.outage_s, rel=0.01)
    assert planned.outage.done == pytest.approx(jobs_a_day, rel=0.001)


def test_the_page_shows_what_the_simulation_says() -> None:
    page = PAGE.read_text()
    assert written(page) == page and "| jobs a day |" in page
