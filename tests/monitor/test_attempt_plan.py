"""The planned attempts of a job, in each of its states."""

from __future__ import annotations

from dataclasses import replace

import pytest

from errand.job.retry_policy import Delays
from errand.monitor.attempt_plan import AttemptPlan, plan_of
from errand.monitor.job_snapshot import JobSnapshot
from tests.dying import fragile

DUE_MS = 1_795_215_012_345
TYPE = replace(fragile, retry=Delays([1, 10, 100], jitter=0.5), timeout_s=30)
JOB = JobSnapshot(
    id="1", type="fragile", queue="default", status="queued", attempt=0, args={}, enqueued_at_ms=0, run_at_ms=DUE_MS
)


def planned(max_tries: int = 4, job: JobSnapshot = JOB) -> AttemptPlan:
    """Relative to the time when the job is due."""
    plan = plan_of(job, TYPE, max_tries=max_tries)
    gives_up_ms = plan.gives_up_ms and plan.gives_up_ms - DUE_MS
    return AttemptPlan(tuple(at_ms - DUE_MS for at_ms in plan.attempts_ms), gives_up_ms)


@pytest.mark.parametrize(
    ("max_tries", "offsets"), [(1, (0,)), (2, (0, 1_000)), (5, (0, 1_000, 11_000, 111_000, 211_000))]
)
def test_a_new_job_has_all_of_its_tries_before_it(max_tries: int, offsets: tuple[int, ...]) -> None:
    assert planned(max_tries) == AttemptPlan(offsets, offsets[-1])


def test_a_job_that_has_failed_has_the_rest_of_its_tries_before_it() -> None:
    assert planned(job=replace(JOB, status="deferred", tries=2, attempt=2)) == AttemptPlan((0, 100_000), 100_000)


def test_an_attempt_that_was_given_back_is_still_to_come() -> None:
    assert planned(2, job=replace(JOB, tries=0, attempt=1)) == AttemptPlan((0, 1_000), 1_000)


def test_the_plan_of_a_running_job_is_counted_from_the_start_of_its_attempt() -> None:
    running = replace(JOB, status="in_progress", tries=2, attempt=2, started_at_ms=DUE_MS + 7)
    assert planned(job=running) == AttemptPlan((10_007, 110_007), 110_007)


def test_the_last_attempt_ends_with_its_time_limit() -> None:
    running = replace(JOB, status="in_progress", tries=4, attempt=4, started_at_ms=DUE_MS)
    assert planned(job=running) == AttemptPlan((), 30_000)


def test_a_plan_has_no_times_past_the_years_that_can_be_shown() -> None:
    late = plan_of(replace(JOB, run_at_ms=253_402_300_798_000), TYPE, max_tries=9)
    assert late.gives_up_ms == 253_402_300_799_000
