"""What a schedule is, how code defines one, and what becomes of a time that is late."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from errand.job.catalog import Catalog
from errand.job.context import Context
from errand.job.job_type import job
from errand.job.schedule import Schedule, Turn, job_id_of

MINUTE_MS = 60_000
NINE_MS = 1_780_304_400_000
"""2026-06-01T09:00:00Z"""


class Report(BaseModel):
    of: str = "all"
    pages: int = 1


def test_a_time_on_time_runs_and_the_next_follows_it() -> None:
    for late_ms in (0, 1, 60_000):
        turn = Schedule("*/15 * * * *").turn(due_ms=NINE_MS, now_ms=NINE_MS + late_ms)
        assert turn == Turn(runs=True, missed=False, next_ms=NINE_MS + 15 * MINUTE_MS)


def test_a_time_within_its_grace_runs_even_if_later_times_have_come() -> None:
    turn = Schedule("* * * * *", grace_s=300).turn(due_ms=NINE_MS, now_ms=NINE_MS + 4 * MINUTE_MS)
    assert turn == Turn(runs=True, missed=False, next_ms=NINE_MS + MINUTE_MS)


def test_missed_times_are_passed_over_up_to_the_first_that_is_not() -> None:
    schedule = Schedule("*/15 * * * *", grace_s=60)
    hour_later = NINE_MS + 60 * MINUTE_MS
    assert schedule.turn(due_ms=NINE_MS, now_ms=hour_later - 1) == Turn(runs=False, missed=True, next_ms=hour_later)
    assert schedule.turn(due_ms=NINE_MS, now_ms=hour_later + MINUTE_MS).next_ms == hour_later
    assert schedule.turn(due_ms=NINE_MS, now_ms=hour_later + MINUTE_MS + 1).next_ms == hour_later + 15 * MINUTE_MS


def test_one_run_makes_up_for_all_that_were_missed() -> None:
    schedule = Schedule("*/15 * * * *", misfire="run_once", grace_s=60)
    turn = schedule.turn(due_ms=NINE_MS, now_ms=NINE_MS + 60 * MINUTE_MS)
    assert turn == Turn(runs=True, missed=True, next_ms=NINE_MS + 75 * MINUTE_MS)


def test_jitter_stays_within_its_bound_and_is_the_same_on_every_worker() -> None:
    schedule = Schedule("* * * * *", jitter_s=30)
    late_ms = [
        schedule.job_due_ms(job_id_of("any", at_ms), at_ms) - at_ms
        for at_ms in range(NINE_MS, NINE_MS + 100 * MINUTE_MS, MINUTE_MS)
    ]
    assert late_ms == [
        Schedule("* * * * *", jitter_s=30).job_due_ms(job_id_of("any", at_ms), at_ms) - at_ms
        for at_ms in range(NINE_MS, NINE_MS + 100 * MINUTE_MS, MINUTE_MS)
    ]
    assert 0 <= min(late_ms) < 5_000 and 25_000 < max(late_ms) <= 30_000
    assert Schedule("* * * * *").job_due_ms("any", NINE_MS) == NINE_MS


def test_the_id_of_a_schedules_job_names_the_schedule_and_the_time() -> None:
    assert job_id_of("nightly", NINE_MS) == "nightly-20260601T090000Z"


def test_a_definition_is_read_back_as_it_was() -> None:
    schedule = Schedule("0 9 * * *", timezone="Asia/Tokyo", args={"of": "x"}, misfire="run_once", jitter_s=5, queue="q")
    assert Schedule.from_definition(schedule.definition("report")) == ("report", schedule)
    assert schedule.definition("report") == schedule.definition("report")


@pytest.mark.parametrize(
    "definition", [b"", b"[]", b"{}", b'{"type": "x"}', b'{"type": "x", "cron": "* * * * *", "y": 1}']
)
def test_an_unreadable_definition_is_refused(definition: bytes) -> None:
    with pytest.raises(ValueError):
        Schedule.from_definition(definition)


def test_code_defines_a_schedule_by_its_expression_alone() -> None:
    @job(schedule="*/5 * * * *")
    async def report(ctx: Context, args: Report) -> None: ...

    assert report.schedules == (Schedule("*/5 * * * *", id="report"),)


def test_code_defines_several_each_with_its_args_as_they_are_enqueued() -> None:
    @job(
        schedule=[
            Schedule("0 9 * * *", timezone="Europe/Berlin", args={"of": "sales", "pages": 1}, id="sales"),
            Schedule("0 10 * * *", args={"pages": 2}, queue="slow", id="long"),
        ]
    )
    async def report(ctx: Context, args: Report) -> None: ...

    assert [(schedule.id, schedule.args) for schedule in report.schedules] == [
        ("sales", {"of": "sales"}),
        ("long", {"pages": 2}),
    ]
    assert Catalog([report]).queues == ["default", "slow"]


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ("every day", "cron 'every day' is no cron expression"),
        (lambda: Schedule("* * * * *", timezone="Berlin"), "timezone 'Berlin' is no time zone"),
        (lambda: Schedule("* * * * *", misfire="twice"), "misfire 'twice'"),  # type: ignore[arg-type]
        (lambda: Schedule("* * * * *", grace_s=-1), "grace_s must be from 0"),
        (lambda: Schedule("* * * * *", jitter_s=1e9), "jitter_s must be from 0"),
        (lambda: Schedule("* * * * *", id="a/b"), "no id for a schedule"),
        (lambda: Schedule("* * * * *", queue="a b"), "no name for a queue"),
        (lambda: Schedule("* * * * *", args={"pages": "many"}), "valid integer"),
        (lambda: [Schedule("* * * * *"), Schedule("0 * * * *")], "needs an id of its own"),
    ],
)
def test_an_invalid_schedule_is_refused_when_it_is_defined(schedule: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):

        @job(schedule=schedule() if callable(schedule) else schedule)  # type: ignore[arg-type]
        async def report(ctx: Context, args: Report) -> None: ...


def test_two_types_cannot_have_schedules_of_one_id() -> None:
    @job(schedule=Schedule("* * * * *", id="nightly"))
    async def one(ctx: Context, args: Report) -> None: ...

    @job(schedule=Schedule("* * * * *", id="nightly"))
    async def other(ctx: Context, args: Report) -> None: ...

    with pytest.raises(ValueError, match="two schedules have the id nightly"):
        Catalog([one, other])
