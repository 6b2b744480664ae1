"""How many processors this process may use, which is what `auto` means for a number of processes."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""`QUOTA PERIOD` in us: what a container's processes may use together, by Linux' control groups (version 2)."""


def count(processes: int | str, *, cpu_max: Path = CPU_MAX) -> int:
    """`processes`; for `auto` as many as this process's affinity, and the quota of its container, allow."""
    if isinstance(processes, int):
        return processes
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota(cpu_max)))


def _quota(cpu_max: Path) -> int:
    try:
        quota, period = cpu_max.read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no control group of its own, or `max`
        return sys.maxsize
