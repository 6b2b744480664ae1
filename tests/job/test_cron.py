"""Times that cron expressions name, on the days when the clocks change above all."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from errand.job import cron


def times_after(expression: str, zone: str, moment: str, number: int) -> list[str]:
    """The next so many times, as that zone's clocks show them."""
    at_ms = int(datetime.fromisoformat(moment).timestamp() * 1000)
    named = cron.following(expression, zone, at_ms, number=number)
    return [datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).isoformat() for at_ms in named]


def test_a_time_that_is_skipped_is_named_at_the_end_of_the_gap() -> None:
    assert times_after("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", 2) == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_a_time_that_comes_twice_is_named_once() -> None:
    assert times_after("30 1 * * *", "America/New_York", "2026-11-01T00:00-04:00", 2) == [
        "2026-11-01T01:30:00-04:00",
        "2026-11-02T01:30:00-05:00",
    ]


def test_nothing_that_has_passed_is_named_in_an_hour_that_comes_twice() -> None:
    second_time = "2026-11-01T01:10-05:00"
    assert times_after("30 1 * * *", "America/New_York", second_time, 1) == ["2026-11-02T01:30:00-05:00"]


def test_an_expression_for_every_so_often_runs_in_both_of_two_equal_hours() -> None:
    assert times_after("*/30 * * * *", "America/New_York", "2026-11-01T00:40-04:00", 4) == [
        "2026-11-01T01:00:00-04:00",
        "2026-11-01T01:30:00-04:00",
        "2026-11-01T01:00:00-05:00",
        "2026-11-01T01:30:00-05:00",
    ]


def test_the_time_asked_about_is_not_named_again() -> None:
    at_ms = int(datetime(2026, 1, 1, 9, 30, tzinfo=UTC).timestamp() * 1000)
    assert cron.next_after("30 9 * * *", "UTC", at_ms - 1) == at_ms
    assert cron.next_after("30 9 * * *", "UTC", at_ms) == at_ms + 86_400_000


def test_seconds_stand_in_front() -> None:
    assert times_after("*/20 * * * * *", "UTC", "2026-01-01T00:00:05Z", 2) == [
        "2026-01-01T00:00:20+00:00",
        "2026-01-01T00:00:40+00:00",
    ]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "wrong number of fields"),
        ("* * * *", "wrong number of fields"),
        ("61 * * * *", "its minute is wrong"),
        ("* * * FOO *", "its month is wrong"),
        ("@daily", "wrong number of fields"),
        ("0 0 30 2 *", "its day-of-month is wrong"),
        ("* * */20 * 1L", "no time in the next fifty years"),
        ("1," * 200 + "1 * * * *", "longer than 200 characters"),
    ],
)
def test_an_invalid_expression_is_explained(expression: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        cron.check_expression(expression)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin?"),
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("", "such as Europe/Berlin or UTC"),
        ("../../etc/passwd", "such as Europe/Berlin"),
        ("America", "is no time zone"),
        ("localtime", "is no time zone"),
        ("+01:00", "is no time zone"),
        ("a\0b" * 60, "is no time zone"),
        ("a\0b" * 300, "is longer than 200 characters"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_a_guess_at_what_was_meant(name: str, says: str) -> None:
    with pytest.raises(ValueError) as refused:
        cron.check_timezone(name)
    assert says in str(refused.value)
