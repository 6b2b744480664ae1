"""When a job is due: reads lengths of time as people write them (`90`, `1.5`, `10m`, `2h30m`), and times (RFC 3339)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema

UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


TERM = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")


WHOLE = re.compile(rf"(?:{TERM.pattern})+")


PATTERN = r"^([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?(ms|[smhdw]))+)$"
"""The pattern of a length of time in the OpenAPI document."""


MAX_CHARS = 64
"""Of a length of time as a text."""


MAX_S = 366 * 86_400
"""A year: a longer delay is more often a mistake than meant."""


def parse_s(text: object) -> object:
    """The length of time in seconds. Raises ValueError if it is neither a number of seconds nor like `2h30m`."""
    if not isinstance(text, str):
        return text
    text = text.strip()
    if len(text) <= MAX_CHARS and re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    if len(text) > MAX_CHARS or not WHOLE.fullmatch(text):
        raise ValueError("must be seconds, or a length of time such as 90s, 10m or 2h30m")
    return sum(float(number) * UNIT_S[unit] for number, unit in TERM.findall(text))


DurationS = Annotated[
    float,
    BeforeValidator(parse_s),
    Field(ge=0, le=MAX_S),
    WithJsonSchema({"type": "string", "examples": ["90", "10m", "2h30m"], "pattern": PATTERN, "maxLength": MAX_CHARS}),
]
"""A query parameter that is a length of time; read, it is a number of seconds."""


def _in_utc(at: datetime) -> datetime:
    try:
        return min(at.astimezone(UTC), LATEST)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999 in UTC") from None


def _as_rfc_3339(text: object) -> object:
    """Raises ValueError for what pydantic takes besides RFC 3339: seconds since the epoch, dates without a time."""
    if not isinstance(text, str | datetime) or (isinstance(text, str) and not RFC_3339.match(text)):
        raise ValueError("must be a time with its offset, such as 2030-01-01T09:00:00Z")
    if isinstance(text, str) and OFFSET_BY_SPACE.search(text):
        raise ValueError("has a space where its offset begins: in a URL a '+' is written %2B")
    return text


RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""A later fraction of a second would be rounded into a year that cannot be shown."""


OFFSET_BY_SPACE = re.compile(r":\d\d(\.\d+)? \d\d:?\d\d$")


Moment = Annotated[AwareDatetime, BeforeValidator(_as_rfc_3339), AfterValidator(_in_utc)]


@dataclass(frozen=True, slots=True)
class When:
    """When a job is due: `delay_ms` from now, or at `run_at_ms` (ms since the epoch) if that is given."""

    delay_ms: int = 0
    run_at_ms: int | None = None


AT_ONCE = When()
