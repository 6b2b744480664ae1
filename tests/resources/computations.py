"""What the tests have computed in other processes; those import this file and no more."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from errand.resources.pool_process import limit_cpu_time
from errand.resources.reports import report

PIECE_BYTES = 256 * 1024


def note_and_hang(note: Path) -> NoReturn:
    """Says which process it is in, then goes on for ever."""
    note.write_text(str(os.getpid()))
    while True:
        time.sleep(60)


def modules_loaded() -> set[str]:
    """Those that a process of the pool has imported."""
    return set(sys.modules)


def environment_seen() -> tuple[dict[str, str], bytes]:
    """Its variables, and, on Linux, the environment that the kernel shows of it."""
    shown = Path("/proc/self/environ")
    return dict(os.environ), shown.read_bytes() if shown.exists() else b""


def die_once(note: Path) -> str:
    """Is killed, as by a kernel that is out of memory, at its first run."""
    if not note.exists():
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def die() -> NoReturn:
    """Is killed at each run."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed by now")


def refuse(reason: str) -> NoReturn:
    """Raises what its caller is to see."""
    raise ValueError(reason)


def compute(cpu_limit_s: float) -> NoReturn:
    """Uses the processor for ever, having limited itself."""
    limit_cpu_time(cpu_limit_s)
    while True:
        pass


def sleep_with_cpu_limit(cpu_limit_s: float) -> str:
    """Takes longer than its limit of CPU time, and uses none."""
    limit_cpu_time(cpu_limit_s)
    time.sleep(2 * cpu_limit_s)
    return "slept"


def len_of_bytes(size: int) -> int:
    """Needs that much memory, and returns none of it."""
    return len(bytes(size))


def open_socket() -> None:
    """Tries to reach the network."""
    socket.create_connection(("127.0.0.1", 9)).close()


def start_program() -> None:
    """Tries to start another program."""
    subprocess.run([sys.executable, "-c", ""], check=True)


def report_and_die(pipe: Path) -> NoReturn:
    """As a decoder does that crashes behind its first step."""
    report(pipe, "decoded")
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    raise AssertionError


def pages_of_a_turn() -> float:
    """Memory pages that the kernel hands out each time that four mebibytes are taken in pieces, and freed."""
    for turn in range(22):
        if turn == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        pieces = [b"x" * PIECE_BYTES for _ in range(16)]
        del pieces
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20
