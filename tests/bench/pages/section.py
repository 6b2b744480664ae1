"""The lines about the dashboard in the report."""

from __future__ import annotations

from typing import Any

from tests.bench.pages.asking_side import PAGES, WIDE
from tests.bench.pages.measures import beside_few, open_pages
from tests.bench.report import Bar, Report
from tests.bench.runs import Figures

KEPT, WAITING = 1_000_000, 100_000
FEW_KEPT, FEW_WAITING = 1_000, 100
ASKS = 100
OPEN, SECONDS = 200, 20


def pages(report: Report, peers: list[Any], *, runs: int) -> None:
    """Each page of the dashboard with 1,000,000 kept jobs and 100,000 that wait, against 1,000 and 100: how long one
    who asks waits, and the bytes of it with its style sheet and script."""
    asked = beside_few((KEPT, WAITING), (FEW_KEPT, FEW_WAITING), asks=ASKS, runs=runs)
    report.section("Pages of the dashboard", " ".join((pages.__doc__ or "").split()))
    for page in PAGES:
        few, many = asked[f"{page} few p99_ms"], asked[f"{page} many p99_ms"]
        middle = asked[f"{page} many p50_ms"] / asked[f"{page} few p50_ms"]
        detail = f"{many:.1f} against {few:.1f} ms; p50 {middle:.2f} x"
        report.line(f"{page}, p99", f"{many / few:.2f} x", detail, Bar.at_most(2, many / few))
    for page in WIDE:
        few, many = asked[f"{page} few p50_ms"], asked[f"{page} many p50_ms"]
        report.line(f"{page}, p50", f"{many / few:.2f} x", f"{many:.0f} against {few:.0f} ms: up to 10,000 are read")
    heaviest = max(PAGES, key=lambda page: asked[f"{page} bytes"])
    size_kb = asked[f"{heaviest} bytes"] / 1000
    report.line("the largest page", f"{size_kb:.0f} kB", heaviest, Bar.at_most(100, size_kb))
    _paint(report, asked)
    _open(report)


def _paint(report: Report, asked: Figures) -> None:
    if "paint p50_ms" not in asked:
        report.line("first paint in Chromium", "not measured", "there is no Chromium here")
        return
    p50_ms, worst_ms = asked["paint p50_ms"], asked["paint worst_ms"]
    report.line("first paint in Chromium", f"{p50_ms:.0f} ms", f"{worst_ms:.0f} ms at worst", Bar.at_most(300, p50_ms))


def _open(report: Report) -> None:
    figures = open_pages(pages=OPEN, seconds=SECONDS)
    report.section(
        "Open pages",
        f"{OPEN} open pages of one API process, overviews and lists, each with its stream; 200 jobs run a second.",
    )
    percent, alone = figures["cores"] * 100, figures["alone"] * 100
    report.line(
        "processor of the API", f"{percent:.1f} % of a core", f"{alone:.1f} % without any", Bar.at_most(10, percent)
    )
    late_ms = figures["p99_ms"]
    report.line("a new job is seen after, p99", f"{late_ms:.0f} ms", "by a page", Bar.at_most(1_000, late_ms))
    least, sent = figures["least"], SECONDS
    report.line("messages that each received", f"{least:.0f}", f"in {SECONDS} s", Bar.at_least(sent, least))
