"""What no-ops did, written down where no kill can take it back: the truth that Redis' records are held against."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from settings import Settings

FOLDER = "journal"

What = Literal["began", "did", "left"]
"""An attempt began, did its work, was left in whatever way; the last is noted of some types alone."""


WHAT: dict[str, What] = {what: what for what in get_args(What)}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line: which attempt of which job began, or did its work, in which worker process."""

    what: What
    job_id: str
    attempt: int
    pid: int
    at_ms: float = 0.0
    """Since the epoch."""


class Journal:
    """The lines of one worker process, in a file of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def note(self, what: What, job_id: str, attempt: int) -> None:
        """One write straight to the kernel: what is noted outlives this process."""
        os.write(self._descriptor, f"{what} {job_id} {attempt} {time.time() * 1000:.1f}\n".encode())


@asynccontextmanager
async def journal(settings: Settings) -> AsyncIterator[Journal]:
    """This process's journal, under `DATA_DIR`."""
    folder = settings.data_dir / FOLDER
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / str(worker_pid()), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        yield Journal(descriptor)
    finally:
        os.close(descriptor)


def worker_pid() -> int:
    """Of the worker that this process makes attempts for, if it runs isolated jobs; else its own."""
    parent = multiprocessing.parent_process()
    return os.getpid() if parent is None or parent.pid is None else parent.pid


def read(data_dir: Path) -> Iterator[Entry]:
    """All lines of all processes; those of one process in their order."""
    for path in sorted((data_dir / FOLDER).glob("*")):
        for line in path.read_text().splitlines():
            what, job_id, attempt, at_ms = line.split(" ")
            yield Entry(WHAT[what], job_id, int(attempt), int(path.name), float(at_ms))
