"""Lengths of time as people write them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from errand.job.when import MAX_S, DurationS

DURATION = TypeAdapter(DurationS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", 1.5),
        (" 5 ", 5),
        ("250ms", 0.25),
        ("90s", 90),
        ("10m", 600),
        ("1.5h", 5400),
        ("2h30m", 9000),
        ("1w1d1h1m1s1ms", 694_861.001),
        ("366d", MAX_S),
        (7, 7),
    ],
)
def test_a_length_of_time_becomes_seconds(text: object, seconds: float) -> None:
    assert DURATION.validate_python(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "m", "10 m", "10x", "1h-5m", "-1", "1e3", "nan", "inf", "PT5M", "10m5", "366d1s", "9" * 400]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        DURATION.validate_python(text)
