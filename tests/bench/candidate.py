"""What every candidate is asked to do, each in a process of its own: `python -m tests.bench.MODULE MEASURE URL OUT …`.

A measure returns figures, which go to the file OUT as JSON; what the candidate logs goes to standard output as it
would in production.
"""

from __future__ import annotations

import asyncio
import json
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


def percentile_ms(values_s: list[float], share: float) -> float:
    """Of values in seconds, in milliseconds."""
    ordered = sorted(values_s)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 3)
