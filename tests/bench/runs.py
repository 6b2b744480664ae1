"""Runs candidates as processes of their own, each on a fresh Redis, and takes medians."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bench.server import free_port, private_redis
from tests.contract.raw.endless import resident_mib

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 300
CONNECT_S = 4
"""A thousand watchers are there by then."""
FLOOD_S = 1
"""Those who flood are at it by then."""
Figures = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """Somebody who can be measured: a program that takes `MEASURE URL OUT NUMBER …`."""

    name: str
    command: tuple[str, ...]
    extra: tuple[float, ...] = ()

    def measure(self, name: str, *numbers: float, url: str | None = None) -> Figures:
        """One measure in a process of its own; on a fresh Redis, or on the one at `url`."""
        if url is None:
            with private_redis() as fresh:
                return self.measure(name, *numbers, url=fresh)
        with self.started(name, *numbers, url=url) as (process, out):
            if process.wait(LIMIT_S) != 0:
                raise RuntimeError(f"{self.name} could not {name}: {(out.parent / 'errors').read_text()[-2000:]}")
            figures: Figures = json.loads(out.read_text())
            return figures

    @contextlib.contextmanager
    def started(self, name: str, *numbers: float, url: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """Its process, and the file in which it leaves its figures; what it logs is thrown away."""
        with tempfile.TemporaryDirectory(prefix="errand-bench-") as folder:
            out = Path(folder, "figures")
            arguments = [name, url, str(out), *(str(number) for number in (*numbers, *self.extra))]
            with Path(folder, "errors").open("wb") as errors:
                process = subprocess.Popen(
                    [*self.command, *arguments],
                    cwd=ROOT,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                )
            try:
                yield process, out
            finally:
                process.kill()
                process.wait()


def ours(module: str = "errand_side") -> tuple[str, ...]:
    return (sys.executable, "-m", f"tests.bench.{module}")


ERRAND = Candidate("Errand", ours())
ARQ_SHIPPED = Candidate("arq, as shipped", ours("arq_side"), (0,))
ARQ_TUNED = Candidate("arq, tuned", ours("arq_side"), (1,))
HTTP = Candidate("HTTP", ours("http_side"))
FLOW = Candidate("flow", ours("flow_side"))
LISTS = Candidate("lists", ours("list_side"))
WATCHING = Candidate("watching", ours("watch_side"))
HOSTILE = Candidate("hostile", ours("hostile_side"))
FANNING = Candidate("fan-out", ours("fan_out_side"))
LETTERS = Candidate("letters", ours("letter_side"))
DELIVERING = Candidate("webhooks", ours("delivery_side"))


def medians(runs: list[Figures]) -> Figures:
    """Of each figure over the runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def in_turn(measures: dict[str, Callable[[], Figures]], *, runs: int) -> dict[str, Figures]:
    """Medians of several measures, taken A B C A B C: what slows the machine down meanwhile hits all alike."""
    taken: dict[str, list[Figures]] = {name: [] for name in measures}
    for _ in range(runs):
        for name, measure in measures.items():
            taken[name].append(measure())
    return {name: medians(figures) for name, figures in taken.items()}


def share_the_queue(workers: int, jobs: int) -> Figures:
    """`workers` processes on one queue: the total rate, the calls, and whether every job ran exactly once."""
    with private_redis() as url, contextlib.ExitStack() as stack:
        ERRAND.measure("prepare", jobs, url=url)
        started = [stack.enter_context(ERRAND.started("share", workers, url=url)) for _ in range(workers)]
        for process, _ in started:
            process.wait(LIMIT_S)
        parts = [json.loads(out.read_text()) for _, out in started]
    ids = [job_id for part in parts for job_id in part["ids"]]
    busy_s = max(part["ended_s"] for part in parts) - min(part["started_s"] for part in parts)
    return {
        "jobs_per_s": jobs / busy_s,
        "calls_per_job": sum(part["calls"] for part in parts) / jobs,
        "exactly_once": float(len(ids) == len(set(ids)) == jobs),
    }


def serve_and_load(*, bare: bool, requests: int, batch: int = 0, keyed: bool = False) -> Figures:
    """Requests a second against one uvicorn process."""
    port = free_port()
    with private_redis() as url, HTTP.started("serve", port, float(bare), url=url):
        _wait_for(f"http://127.0.0.1:{port}/openapi.json")
        figures = HTTP.measure("load", port, requests, batch, float(keyed), url=url)
    if batch:
        figures["jobs_per_s"] = figures["requests_per_s"] * batch
    return figures


def fill_and_list(number: int, *, ended: bool) -> Figures:
    """Pages of `GET /v1/jobs` with so many jobs in one queue, against one uvicorn process."""
    port = free_port()
    with private_redis() as url, HTTP.started("serve", port, 0.0, url=url):
        filled = LISTS.measure("fill", number, float(ended), url=url)
        _wait_for(f"http://127.0.0.1:{port}/openapi.json")
        return filled | LISTS.measure("ask", port, url=url)


def watched(*, watchers: int, per_s: int, seconds: int) -> Figures:
    """How late changes come to that many watchers of one API process, which takes so many enqueues a second."""
    port = free_port()
    with private_redis() as url, HTTP.started("serve", port, 0.0, url=url):
        _wait_for(f"http://127.0.0.1:{port}/openapi.json")
        with WATCHING.started("watch", port, watchers, per_s * seconds, url=url) as (watching, out):
            time.sleep(CONNECT_S)
            WATCHING.measure("post", port, per_s, seconds, url=url)
            watching.wait(LIMIT_S)
            figures: Figures = json.loads(out.read_text())
            return figures


def waited(*, waits: int) -> Figures:
    """How soon after the end a wait returns, while the API's Redis and a worker have other things to do."""
    port = free_port()
    with private_redis() as url, HTTP.started("serve", port, 0.0, url=url), ERRAND.started("busy", LIMIT_S, url=url):
        _wait_for(f"http://127.0.0.1:{port}/openapi.json")
        return WATCHING.measure("wait", port, waits, url=url)


def posted(measure: str, *, events: int) -> Figures:
    """Events posted to one receiver a hundred at once, by `bare` or by `deliver`."""
    port = free_port()
    with private_redis() as url, DELIVERING.started("receive", port, url=url):
        wait_for_port(port)
        return DELIVERING.measure(measure, port, events, url=url)


def beside_a_hanging_one(*, waiting: int) -> Figures:
    """Ten receivers and a worker process; one receiver hangs, and has so many events waiting.

    Beside it another worker process with a Redis of its own, which has none.
    """
    mail, *ports = (free_port() for _ in range(11))
    with (
        private_redis() as url,
        private_redis() as other,
        DELIVERING.started("receive", *ports, url=url),
        LETTERS.started("receive", mail, url=url),
        DELIVERING.started("work", mail, url=url) as (worker, _),
        DELIVERING.started("work", mail, url=other) as (its_worker, _),
    ):
        wait_for_port(mail)
        wait_for_port(ports[-1])
        their = urlsplit(other).port or 0
        return DELIVERING.measure("beside", their, worker.pid, its_worker.pid, waiting, *ports, url=url)


def fanned_out(*, endpoints: int, events: int) -> Figures:
    """How long an event for that many endpoints takes, against one uvicorn process."""
    port = free_port()
    with private_redis() as url, HTTP.started("serve", port, 0.0, url=url):
        _wait_for(f"http://127.0.0.1:{port}/openapi.json")
        return FANNING.measure("fan_out", port, endpoints, events, url=url)


def letters_sent(measure: str, *, letters: int) -> Figures:
    """A mail server in a process of its own, and one that sends to it."""
    port = free_port()
    with private_redis() as url, LETTERS.started("receive", port, url=url):
        wait_for_port(port)
        return LETTERS.measure(measure, port, letters, url=url)


def beside_hanging_mail(*, letters: int) -> Figures:
    """A worker process whose mail server hangs, with so many letters waiting; its webhooks and images.

    Beside it another worker process with a Redis of its own, which has none.
    """
    mail, hooks = free_port(), free_port()
    with (
        private_redis() as url,
        private_redis() as other,
        LETTERS.started("receive", mail, 1, url=url),
        DELIVERING.started("receive", hooks, url=url),
        LETTERS.started("work", mail, url=url) as (worker, _),
        LETTERS.started("work", mail, url=other) as (its_worker, _),
    ):
        wait_for_port(mail)
        wait_for_port(hooks)
        their = urlsplit(other).port or 0
        return LETTERS.measure("beside", their, mail, hooks, letters, worker.pid, its_worker.pid, url=url)


def beside_hostile_ones(kind: int, *, asks: int) -> Figures:
    """How long others wait for an answer of one API process, alone and beside five clients that send without end; and
    what the same attack does to those who ask a server that spends nothing on it."""
    port, bare_port = free_port(), free_port()
    with (
        private_redis() as url,
        HTTP.started("serve", port, 0.0, url=url) as (served, _),
        HOSTILE.started("bare", bare_port, url=url),
    ):
        _wait_for(f"http://127.0.0.1:{port}/openapi.json")
        wait_for_port(bare_port)
        ours = _beside_hostile_ones(kind, port, asks=asks, pid=served.pid)
        floor = _beside_hostile_ones(kind, bare_port, asks=asks, pid=served.pid)
    return {**ours, "floor": floor["beside_p99_ms"] / floor["alone_p99_ms"]}


def _beside_hostile_ones(kind: int, port: int, *, asks: int, pid: int) -> Figures:
    HOSTILE.measure("ask", port, asks // 10, url="")
    alone = HOSTILE.measure("ask", port, asks, url="")
    before_mib = resident_mib(pid)
    with HOSTILE.started("flood", port, kind, url=""):
        time.sleep(FLOOD_S)
        with HOSTILE.started("ask", port, asks, url="") as (asking, out):
            peak_mib = before_mib
            while asking.poll() is None:
                peak_mib = max(peak_mib, resident_mib(pid))
                time.sleep(0.02)
            beside = json.loads(out.read_text())
    return {
        "grown_mib": peak_mib - before_mib,
        "alone_p99_ms": alone["p99_ms"],
        "beside_p50_ms": beside["p50_ms"],
        "beside_p99_ms": beside["p99_ms"],
    }


def wait_for_port(port: int) -> None:
    """Returns when somebody listens there."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens at {port}")


def _wait_for(address: str) -> None:
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except urllib.error.HTTPError:  # an answer as well: the document may need a key
            return
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"nothing answers at {address}")
