"""How long a delivery waits for its next attempt if the receiver says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from errand.webhooks.retry_after import retry_after_s
from errand.webhooks.schedule import RETRY_AFTER_CAP_S

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("120", 120),
        (" 120 ", 120),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300),
        ("Sunday, 01-Nov-26 12:00:30 GMT", 30),
        ("0", 0),
        (format_datetime(NOW - timedelta(hours=1), usegmt=True), 0),
        ("9" * 5_000, RETRY_AFTER_CAP_S),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), RETRY_AFTER_CAP_S),
        *((rubbish, 0) for rubbish in ("", "-5", "1.5", "1e3", "٣", "²", "soon", "12:00", "Mon,", "\x00")),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 2027 00:00:00 +99999999999999999999", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(value: str, wait_s: float) -> None:
    assert retry_after_s(value, now=NOW) == wait_s
