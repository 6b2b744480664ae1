"""The lines about OpenTelemetry in the report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from unittest import mock

from tests.bench.report import Bar, Report
from tests.bench.runs import Candidate, Figures, in_turn, ours
from tests.bench.tracing_side import AWAY, OFF, ON, SAMPLED

TRACING = Candidate("tracing", ours("tracing_side"))
JOBS = 40_000


def tracing(report: Report, peers: list[Any], *, runs: int) -> None:
    """No-op jobs, each put by a call of its own and run by one worker, by processor time: with OpenTelemetry's SDK
    installed and off, and on with one trace in a hundred, against the same without it."""
    modes = {"away": AWAY, "off": OFF, "on": ON}
    taken = in_turn({name: partial(_measured, mode) for name, mode in modes.items()}, runs=runs)
    report.section("Traces", " ".join((tracing.__doc__ or "").split()))
    for name, what, least in (("off", "installed, and off", 0.99), ("on", "on, 1 % of traces", 0.9)):
        ratio = taken["away"]["cpu_us"] / taken[name]["cpu_us"]
        detail = f"put {taken[name]['put_us']:.1f} µs, run {taken[name]['run_us']:.1f} µs"
        report.line(what, f"{ratio:.2f} x", detail, Bar.at_least(least, ratio))
    away = taken["away"]
    report.line("not installed", "1", f"put {away['put_us']:.1f} µs, run {away['run_us']:.1f} µs")


def _measured(mode: int) -> Figures:
    with collector() as url, mock.patch.dict(os.environ, variables(url) if mode == ON else {}):
        return TRACING.measure("throughput", JOBS, mode)


def variables(url: str) -> dict[str, str]:
    """What an operator would set."""
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": SAMPLED}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **sampler}


class _Collector(BaseHTTPRequestHandler):
    """Takes spans and throws them away."""

    def do_POST(self) -> None:  # as http.server calls it
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def collector() -> Iterator[str]:
    """The URL of a collector on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
