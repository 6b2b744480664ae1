"""The most memory that a process has had."""

from __future__ import annotations

import resource
from pathlib import Path


def peak_mib() -> float:
    """Of this process alone: `ru_maxrss` is that of the process which started it, if that had more (Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (peak_kib,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak_kib) / 1024
