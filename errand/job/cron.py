"""When a cron expression names a time in a time zone. The arithmetic is cronsim's, which follows Debian's cron.

An expression for certain hours runs once on the days when the clocks change: a time that is skipped is named at the
end of the gap, a time that comes twice the first time alone. One that runs every so often (a `*` in its minutes or
hours), and one with a field of seconds, goes by the time that really passes.
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


SHAPE = (
    "it has five fields (minute, hour, day of month, month, day of week), such as '30 9 * * MON-FRI', "
    "or six, with seconds in front"
)


NOT_PORTABLE = frozenset({"localtime", "Factory"})
"""Names that mean another zone, or none, on each machine."""


@lru_cache(maxsize=1024)
def check_expression(expression: str) -> str:
    """The expression as it stands.

    Raises ValueError, in words, for what is none, or names no time in the next fifty years.
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
    """The name as it stands. Raises ValueError, with a guess at what was meant, for no IANA time zone."""
    if name in _timezones():
        return name
    meant = difflib.get_close_matches(name, _timezones(), n=1)
    hint = f"did you mean {meant[0]}?" if meant else "such as Europe/Berlin or UTC"
    raise ValueError(f"is no time zone of the IANA database; {hint}")


@cache
def _timezones() -> frozenset[str]:
    """Spelt as the database spells them, whatever this machine's file system takes for the same."""
    return frozenset(zoneinfo.available_timezones()) - NOT_PORTABLE


def next_after(expression: str, timezone: str, at_ms: int) -> int | None:
    """The first time named after that one, in ms since the epoch; None where there is none within fifty years."""
    return next(_after(expression, timezone, at_ms), None)


def following(expression: str, timezone: str, at_ms: int, *, number: int) -> list[int]:
    """The next so many times after that one."""
    return list(islice(_after(expression, timezone, at_ms), number))


def _after(expression: str, timezone: str, at_ms: int) -> Iterator[int]:
    begin = datetime.fromtimestamp(at_ms // 1000, zoneinfo.ZoneInfo(timezone))
    for named in CronSim(expression, begin):
        named_ms = int(named.timestamp()) * 1000
        # in an hour that comes twice cronsim begins with the first, which may have passed
        if named_ms > at_ms:
            yield named_ms
