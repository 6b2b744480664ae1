"""Units and bounds that the settings of several parts share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

DAY_S = 86_400


MAX_TTL_S = 36_500 * DAY_S
"""Redis' own arithmetic ends beyond it; an outcome is not kept for a century."""


MIB = 1024 * 1024


MAX_PROCESSES = 256


def parse_processes(value: object) -> object:
    """A number of processes, or `auto`. Raises ValueError."""
    number = int(str(value)) if str(value).isdecimal() else 0
    if value == "auto" or 1 <= number <= MAX_PROCESSES:
        return value if value == "auto" else number
    raise ValueError(f"must be a number of processes from 1 to {MAX_PROCESSES}, or auto")


Processes = Annotated[int | Literal["auto"], BeforeValidator(parse_processes)]
"""`auto`: one for each processor that may be used."""
