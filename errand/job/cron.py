"""The times that a cron expression names in a time zone, as Debian's cron does it; cronsim does the arithmetic.

When the clocks change, an expression for certain hours still runs once that day: at the end of the gap if its time is
skipped, the first time alone if its time comes twice. An expression with a `*` in its minutes or hours, or with a
field of seconds, goes by elapsed time instead.
"""

from __future__ import annotations

import difflib
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import islice

from cronsim import CronSim, CronSimError

MAX_CHARS = 200
"""The longest expression, and the longest name of a time zone, that is looked at."""


SHAPE = (
    "it has five fields (minute, hour, day of month, month, day of week), such as '30 9 * * MON-FRI', "
    "or six, with seconds in front"
)


NOT_PORTABLE = frozenset({"localtime", "Factory"})
"""Names that stand for another zone on each machine, or for none."""


@lru_cache(maxsize=1024)
def check_expression(expression: str) -> str:
    """The expression, unchanged.

    Raises ValueError, which says what is wrong, if it is no cron expression or names no time in the next fifty years.
    """
    if len(expression) > MAX_CHARS:
        raise ValueError(f"is longer than {MAX_CHARS} characters")
    try:
        first = next(CronSim(expression, datetime.now(UTC)), None)
    except CronSimError as error:
        bad, _, field = str(error).partition("Bad ")
        fault = f"its {field} is wrong" if field else bad.lower()
        raise ValueError(f"is no cron expression ({fault}): {SHAPE}") from None
    if first is None:
        raise ValueError("names no time in the next fifty years")
    return expression


def check_timezone(name: str) -> str:
    """The name, unchanged. Raises ValueError, which guesses what was meant, if it is no IANA time zone."""
    if len(name) > MAX_CHARS:
        raise ValueError(f"is longer than {MAX_CHARS} characters")
    if name in _timezones():
        return name
    meant = difflib.get_close_matches(name, _timezones(), n=1)
    hint = f"did you mean {meant[0]}?" if meant else "such as Europe/Berlin or UTC"
    raise ValueError(f"is no time zone of the IANA database; {hint}")


@cache
def _timezones() -> frozenset[str]:
    """Their names as the database spells them; a file system may take other spellings for the same."""
    return frozenset(zoneinfo.available_timezones()) - NOT_PORTABLE


def next_after(expression: str, timezone: str, at_ms: int) -> int | None:
    """The first time named after `at_ms`, both in ms since the epoch; None if there is none within fifty years."""
    return next(_after(expression, timezone, at_ms), None)


def following(expression: str, timezone: str, at_ms: int, *, number: int) -> list[int]:
    """The next `number` times after `at_ms`, in ms since the epoch."""
    return list(islice(_after(expression, timezone, at_ms), number))


def _after(expression: str, timezone: str, at_ms: int) -> Iterator[int]:
    begin = datetime.fromtimestamp(at_ms // 1000, zoneinfo.ZoneInfo(timezone))
    for named in CronSim(expression, begin):
        named_ms = int(named.timestamp()) * 1000
        # if the hour comes twice, cronsim starts with its first run, which may have passed
        if named_ms > at_ms:
            yield named_ms
