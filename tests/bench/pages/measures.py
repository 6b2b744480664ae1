"""Starts the services, fills their Redis, and measures their pages."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.runs import ERRAND, LIMIT_S, Candidate, Figures, in_turn, ours, wait_for_port
from tests.bench.server import free_port, private_redis

SERVING = Candidate("pages", ours("pages.serving_side"))
FILLING = Candidate("jobs of a day", ours("pages.filling_side"))
ASKING = Candidate("asking", ours("pages.asking_side"))
OPEN = Candidate("open pages", ours("pages.open_side"))
PAINT = Candidate("paint", ours("pages.paint_side"))
CONNECT_S, ALONE_S = 4, 5


@contextlib.contextmanager
def filled(kept: int, waiting: int) -> Iterator[int]:
    """A service with so many jobs; its port."""
    port = free_port()
    with private_redis() as url, SERVING.started("serve", port, url=url):
        FILLING.measure("fill", kept, waiting, url=url)
        wait_for_port(port)
        yield port


def beside_few(many: tuple[int, int], few: tuple[int, int], *, asks: int, runs: int) -> Figures:
    """Each page asked for in turn with many jobs and with few: kept and waiting ones."""
    with filled(*few) as few_port, filled(*many) as many_port:
        measures = {"": lambda: ASKING.measure("ask", few_port, many_port, asks, url="")}
        figures = in_turn(measures, runs=runs)[""]
        if shutil.which("chromium"):
            figures |= {f"paint {name}": value for name, value in PAINT.measure("paint", many_port, url="").items()}
        return figures


def open_pages(*, pages: int, seconds: int) -> Figures:
    """The processor time of one API process while so many pages are open, and 200 jobs a second are put and run."""
    port = free_port()
    with private_redis() as url, SERVING.started("serve", port, url=url) as (served, _):
        wait_for_port(port)
        with ERRAND.started("busy", LIMIT_S, url=url):
            time.sleep(CONNECT_S)
            alone = _cores(served, ALONE_S)
            with OPEN.started("hold", port, pages, CONNECT_S + seconds, url=url) as (holding, out):
                time.sleep(CONNECT_S)
                cores = _cores(served, seconds - 1)
                if holding.wait(LIMIT_S):
                    raise RuntimeError((out.parent / "errors").read_text()[-2000:])
                return {"alone": alone, "cores": cores, **json.loads(out.read_text())}


def _cores(process: subprocess.Popen[bytes], seconds: float) -> float:
    """The share of a core that it uses, over so long."""
    used_s, began_s = _cpu_s(process.pid), time.monotonic()
    time.sleep(seconds)
    return (_cpu_s(process.pid) - used_s) / (time.monotonic() - began_s)


def _cpu_s(pid: int) -> float:
    """User and system time of a process, as Linux counts it; its name may hold spaces and ends in `)`."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
