"""Reads a length of time as people write it: `90`, `1.5`, `10m`, `2h30m`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
TERM = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")
WHOLE = re.compile(rf"(?:{TERM.pattern})+")
PATTERN = r"^([0-9]+(\.[0-9]+)?|([0-9]+(\.[0-9]+)?(ms|[smhdw]))+)$"
"""What the OpenAPI document says of them."""
LONGEST_S = 366 * 86_400
"""A job for later than a year is a slip of the pen more often than a wish."""


def parse_s(text: object) -> object:
    """Seconds; raises ValueError for what is neither a number of seconds nor terms such as `2h30m`."""
    if not isinstance(text, str):
        return text
    text = text.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return float(text)
    if not WHOLE.fullmatch(text):
        raise ValueError("must be seconds, or a length of time such as 90s, 10m or 2h30m")
    return sum(float(number) * UNIT_S[unit] for number, unit in TERM.findall(text))


DurationS = Annotated[
    float,
    BeforeValidator(parse_s),
    Field(ge=0, le=LONGEST_S),
    WithJsonSchema({"type": "string", "examples": ["90", "10m", "2h30m"], "pattern": PATTERN}),
]
"""A query parameter that is a length of time, in seconds once read."""
