"""How pages say things: moments, durations, numbers, and texts of others without characters that mislead."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from errand.http.answers.job_view import PLAIN
from errand.wire import keys
from errand.wire.limits import shown_ms

UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""Control characters, marks that turn or hide what stands beside them, and halves of characters."""

STEPS = ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (86_400 * 60, 86_400, "d"))
"""Below so many seconds: by what a duration is divided, and its unit."""

MONTH_S, YEAR_S = 86_400 * 30.44, 86_400 * 365.25


def visible(text: str, *, most: int) -> str:
    """The text with what cannot be seen spelt out, cut after so many characters."""
    if len(text) <= most and text.isascii() and text.isprintable():
        return text  # as most are
    cut = text[:most]
    shown = UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", cut)
    return shown if len(text) <= most else f"{shown}… ({len(text):,} characters)"


def duration(seconds: float | None) -> str:
    """`340 ms`, `1.2 s`, `14 min`, `3 h`, `12 d`; empty if it is not known."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    for below, unit_s, unit in STEPS:
        if seconds < below:
            number = seconds / unit_s
            return f"{number:.1f}".removesuffix(".0") + f" {unit}" if number < 9.95 else f"{number:.0f} {unit}"
    return f"{seconds / MONTH_S:.0f} months" if seconds < 2 * YEAR_S else f"{seconds / YEAR_S:.0f} years"


def ago(at: datetime) -> str:
    """How long ago it was, or in what time it will be."""
    away_s = at.timestamp() - time.time()
    if abs(away_s) < 1:
        return "now"
    text = duration(round(abs(away_s)))
    return f"in {text}" if away_s > 0 else f"{text} ago"


def exact(at: datetime) -> str:
    """The moment in UTC, to the millisecond."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def number(value: float) -> str:
    """`12,345`."""
    return f"{value:,.0f}"


def of_ms(at_ms: int) -> datetime:
    """Ms since the epoch as a moment."""
    return datetime.fromtimestamp(shown_ms(at_ms) / 1000, UTC)


def segment(text: str) -> str:
    """The text as a part of a path or of a query."""
    return quote(text, safe=PLAIN.replace("&", "").replace("+", ""), errors="replace")


FILTERS: dict[str, Callable[[Any], Any]] = {
    "duration": duration,
    "ago": ago,
    "exact": exact,
    "number": number,
    "of_ms": of_ms,
    "segment": segment,
    "setof": frozenset,
    "identity": id,
    "queue_name": keys.queue_name,
}
