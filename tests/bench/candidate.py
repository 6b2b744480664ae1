"""What every candidate is asked to do, each in a process of its own: `python -m tests.bench.MODULE MEASURE URL OUT …`.

A measure returns figures, which go to the file OUT as JSON; what the candidate logs goes to standard output as it
would in production.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Measure = Callable[..., Awaitable[dict[str, Any]]]


def main(measures: dict[str, Measure], run: Callable[[Any], Any] = asyncio.run) -> None:
    """Runs the measure that the command line names."""
    name, url, out, *numbers = sys.argv[1:]
    figures = run(measures[name](url, *map(float, numbers)))
    Path(out).write_text(json.dumps(figures))


def cpu_s() -> float:
    """Processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_s_of(pid: int) -> float:
    """The same of another process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile_ms(values_s: list[float], share: float) -> float:
    """Of values in seconds, in milliseconds."""
    ordered = sorted(values_s)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 3)


def percentile_of_whole_ms(values_ms: list[int], share: float) -> float:
    """Of values that were cut to whole milliseconds, to a part of one: a bar of 0.95 is finer than 6 against 7."""
    value = sorted(values_ms)[min(int(len(values_ms) * share), len(values_ms) - 1)]
    below, equal = sum(each < value for each in values_ms), values_ms.count(value)
    return round(value + (share * len(values_ms) - below) / equal, 2)
