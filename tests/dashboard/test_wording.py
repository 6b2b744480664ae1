"""How pages say things, and what they make of texts that would mislead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from errand.dashboard import wording
from errand.dashboard.json_text import MAX_CHARS, json_html


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *[(0, "0 ms"), (0.3404, "340 ms"), (0.9996, "1 s"), (1.23, "1.2 s"), (59.6, "60 s"), (600, "10 min")],
        *[(7200, "2 h"), (86_400 * 12, "12 d"), (86_400 * 365, "12 months"), (86_400 * 3653, "10 years"), (None, "")],
    ],
)
def test_durations_are_short(seconds: float | None, said: str) -> None:
    assert wording.duration(seconds) == said


def test_moments_are_relative_and_exact() -> None:
    now = datetime.now(UTC)
    assert wording.ago(now) == "now"
    assert wording.ago(now - timedelta(minutes=3, seconds=1)) == "3 min ago"
    assert wording.ago(now + timedelta(hours=2, seconds=1)) == "in 2 h"
    assert wording.exact(datetime(2026, 11, 1, 9, 0, 0, 123_000, UTC)) == "2026-11-01 09:00:00.123 UTC"


def test_what_cannot_be_seen_is_spelt_out_and_what_is_long_is_cut() -> None:
    assert wording.visible("a\u202eb\x00\ud800\u200bc\n\t", most=100) == "a\\u202eb\\u0000\\ud800\\u200bc\n\t"
    assert wording.visible("x" * 3_000, most=10) == "xxxxxxxxxx… (3,000 characters)"


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, list(range(10**6)), {f"n{number}": "x" * 900 for number in range(100_000)}, deep(900), 10**4_000],
    ids=["text", "list", "dict", "deep", "number"],
)
def test_a_value_of_any_size_is_shown_in_bounds(value: Any) -> None:
    assert len(json_html(value)) < 8 * MAX_CHARS


def test_json_is_escaped_and_coloured() -> None:
    shown = json_html({"<b>": ['"\\\n', 1.5, True, None, {}, "\u202e\ud800"]})
    assert "<b>" not in shown and "&lt;b&gt;" in shown
    assert '<span class="j-number">1.5</span>' in shown and '<span class="j-word">null</span>' in shown
    assert "\\u202e\\ud800" in shown and "&#34;\\&#34;\\\\\\n&#34;" in shown
    shown.encode()
