"""`make bench` and `make bench-peers`: every bar of the engine, measured now, on this machine.

A line that misses its bar says so and makes the program end with 1. With `--write` the tables go to docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.bench.flow_section import flow
from tests.bench.hostile_side import KINDS
from tests.bench.pages.section import pages
from tests.bench.peers.environments import PEERS, candidate_of
from tests.bench.pictures.section import images
from tests.bench.report import Bar, Report
from tests.bench.runs import (
    ARQ_SHIPPED,
    ARQ_TUNED,
    ERRAND,
    Candidate,
    Figures,
    beside_a_hanging_one,
    beside_hanging_mail,
    beside_hostile_ones,
    fanned_out,
    fill_and_list,
    in_turn,
    letters_sent,
    posted,
    serve_and_load,
    share_the_queue,
    waited,
    watched,
)
from tests.bench.scale.section import scale
from tests.bench.tracing_section import tracing

JOBS, SHIPPED_JOBS, TUNED_JOBS, PEER_JOBS = 60_000, 600, 10_000, 5_000
PICKUPS = 300
EVENTS = 20_000
LETTERS = 3_000
HOSTILE_ASKS = 300


def main() -> int:
    """Measures, prints, and returns 1 where a bar was missed."""
    options = _options()
    peers: list[Candidate] = [candidate_of(name) for name in PEERS] if options.peers else []
    report = Report()
    for section in (
        throughput,
        pickup,
        chains,
        deferred,
        depth,
        workers,
        flow,
        http,
        hostile,
        lists,
        pages,
        watchers,
        waits,
        cancels,
        enqueueing,
        webhooks,
        fan_out,
        hanging,
        letters,
        hanging_mail,
        idle,
        tracing,
        scale,
        images,
    ):
        if options.only in ("", section.__name__):
            section(report, peers, runs=options.runs)
    report.finish()
    if options.write:
        when = datetime.now(UTC).date().isoformat()
        Path("docs/benchmarks.md").write_text(report.as_markdown(when=when, runs=options.runs, peers=bool(peers)))
    return 1 if report.missed else 0


def throughput(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """No-op jobs a second of one worker process, results kept, every attempt recorded and logged."""
    measures: dict[str, Callable[[], Figures]] = {
        ERRAND.name: partial(ERRAND.measure, "throughput", JOBS),
        ARQ_TUNED.name: partial(ARQ_TUNED.measure, "throughput", TUNED_JOBS),
        ARQ_SHIPPED.name: partial(ARQ_SHIPPED.measure, "throughput", SHIPPED_JOBS),
        **{peer.name: partial(peer.measure, "throughput", PEER_JOBS) for peer in peers},
    }
    taken = in_turn(measures, runs=runs)
    rate = taken[ERRAND.name]["jobs_per_s"]
    report.section("Throughput", throughput.__doc__)
    for name, figures in taken.items():
        ratio = rate / figures["jobs_per_s"]
        bar = Bar.at_least(6, ratio) if name not in (ERRAND.name, ARQ_SHIPPED.name) else None
        report.line(name, f"{ratio:.1f} x", f"{figures['jobs_per_s']:,.0f} jobs/s", bar)
    calls = taken[ERRAND.name]["calls_per_job"]
    report.line("Redis calls per job", f"{calls:.3f}", "at saturation", Bar.at_most(0.2, calls))


def pickup(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """From the enqueue call to the job's first line, one job at a time, the worker idle."""
    candidates = [ERRAND, ARQ_TUNED, ARQ_SHIPPED, *peers]
    taken = in_turn(
        {one.name: partial(one.measure, "latency", 60 if one is ARQ_SHIPPED else PICKUPS) for one in candidates},
        runs=runs,
    )
    mine = taken[ERRAND.name]
    report.section("Idle pick-up latency", pickup.__doc__)
    for name, figures in taken.items():
        figure = f"p50 {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms"
        report.line(
            name, f"{mine['p50_ms'] / figures['p50_ms']:.2f} x / {mine['p99_ms'] / figures['p99_ms']:.2f} x", figure
        )
    for share in ("p50_ms", "p99_ms") if peers else ():
        best = min(figures[share] for name, figures in taken.items() if name != ERRAND.name)
        ratio = mine[share] / best
        report.line(f"{share[:3]} against the best peer", f"{ratio:.2f} x", "", Bar.at_most(1.0, ratio))


def chains(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """From the last line of a chain's step to the first line of the next one, which its success puts."""
    figures = in_turn({"chains": partial(ERRAND.measure, "chains", PICKUPS)}, runs=runs)["chains"]
    report.section("Chains", chains.__doc__)
    p99 = f"p99 {figures['p99_ms']:.2f} ms"
    report.line("p50", f"{figures['p50_ms']:.2f} ms", p99, Bar.at_most(2, figures["p50_ms"]))


def deferred(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """How late deferred jobs begin, with 100,000 others deferred behind them."""
    figures = in_turn({"Errand": partial(ERRAND.measure, "deferred", 100_000, 2_000)}, runs=runs)["Errand"]
    report.section("Deferred lateness", deferred.__doc__)
    late = f"p50 {figures['p50_ms']:.2f} ms"
    report.line("p99", f"{figures['p99_ms']:.2f} ms", late, Bar.at_most(10, figures["p99_ms"]))


def depth(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """Throughput with 1,000,000 due jobs waiting against that with 10,000."""
    taken = in_turn(
        {
            "10,000": partial(ERRAND.measure, "throughput", 30_000, 10_000),
            "1,000,000": partial(ERRAND.measure, "throughput", 30_000, 1_000_000),
        },
        runs=runs,
    )
    shallow, deep = (taken[name]["jobs_per_s"] for name in ("10,000", "1,000,000"))
    report.section("Depth", depth.__doc__)
    report.line(
        "1,000,000 waiting", f"{deep / shallow:.2f} x", f"{deep:,.0f} jobs/s", Bar.at_least(0.9, deep / shallow)
    )


def workers(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """Worker processes on one queue of 60,000 jobs."""
    taken = in_turn({str(number): partial(share_the_queue, number, JOBS) for number in (1, 2, 4)}, runs=runs)
    report.section("Several workers", workers.__doc__)
    alone = taken["1"]["jobs_per_s"]
    for number, figures in taken.items():
        ratio = figures["jobs_per_s"] / alone
        bar = Bar.at_least(1.0, ratio) if number == "4" else None
        report.line(f"{number} workers", f"{ratio:.2f} x", f"{figures['jobs_per_s']:,.0f} jobs/s", bar)
    once, calls = taken["4"]["exactly_once"], taken["4"]["calls_per_job"]
    report.line("every job run exactly once", "yes" if once else "no", "4 workers", Bar.at_least(1, once))
    report.line("Redis calls per job", f"{calls:.3f}", "4 workers", Bar.at_most(0.2, calls))


def http(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """Requests a second of one API process, with a key, against a bare FastAPI route with the same body."""
    taken = in_turn(
        {
            "bare": partial(serve_and_load, bare=True, requests=20_000),
            "ours": partial(serve_and_load, bare=False, requests=20_000),
            "keyed": partial(serve_and_load, bare=False, requests=20_000, keyed=True),
            "batch": partial(serve_and_load, bare=False, requests=40, batch=5_000),
        },
        runs=runs,
    )
    report.section("HTTP", http.__doc__)
    bare, single = taken["bare"]["requests_per_s"], taken["ours"]["requests_per_s"]
    report.line("POST /v1/jobs/{type}", f"{single / bare:.2f} x", f"{single:,.0f}/s", Bar.at_least(0.8, single / bare))
    keyed = taken["keyed"]["requests_per_s"]
    report.line(
        "… with an Idempotency-Key", f"{keyed / bare:.2f} x", f"{keyed:,.0f}/s", Bar.at_least(0.8, keyed / bare)
    )
    report.line("a bare route", "1", f"{bare:,.0f}/s")
    batch = taken["batch"]["jobs_per_s"]
    report.line("POST …/batch", f"{batch:,.0f} jobs/s", "5,000 in each", Bar.at_least(30_000, batch))


def hostile(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """One client that asks `/healthz` now and then, each time on a new connection: alone, and beside five that send
    without end and read nothing. Whoever is cut off comes again. A bare server that reads nothing of these five shows
    how much of it is the machine's."""
    report.section("Beside hostile clients", " ".join((hostile.__doc__ or "").split()))
    for number, kind in enumerate(KINDS):
        figures = in_turn({"": partial(beside_hostile_ones, number, asks=HOSTILE_ASKS)}, runs=runs)[""]
        ratio = figures["beside_p99_ms"] / figures["alone_p99_ms"]
        detail = f"p99 {figures['beside_p99_ms']:.1f} ms against {figures['alone_p99_ms']:.1f} ms"
        detail += f"; a bare server {figures['floor']:.1f} x"
        report.line(f"{kind}, p99 of others", f"{ratio:.1f} x", detail, Bar.at_most(2, ratio))
        grown_mib = figures["grown_mib"]
        report.line(f"{kind}, memory", f"{grown_mib:+.0f} MiB", "", Bar.at_most(50, grown_mib))


def lists(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """`GET /v1/jobs?limit=20`: the first and the 1,000th page of 1,000,000 jobs against the first and last of 1,000."""
    taken = in_turn(
        {
            f"{kind} {number}": partial(fill_and_list, number, ended=kind == "ended")
            for kind in ("ended", "due")
            for number in (1_000, 1_000_000)
        },
        runs=runs,
    )
    report.section("Lists", lists.__doc__)
    for kind in ("ended", "due"):
        few, many = taken[f"{kind} 1000"], taken[f"{kind} 1000000"]
        for page, what in (("first_ms", "first page"), ("deep_ms", "1,000th page")):
            ratio = many[page] / few[page]
            detail = f"p50 {many[page]:.2f} ms against {few[page]:.2f} ms"
            report.line(f"{kind} jobs, {what}", f"{ratio:.2f} x", detail, Bar.at_most(1.5, ratio))
    memory = taken["ended 1000000"]["bytes_per_listed_job"]
    report.line("memory of the index", f"{memory:.0f} bytes", "for each ended job that is kept")


def watchers(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """From a change in Redis to each of 1,000 watchers of one API process, which takes 200 jobs a second."""
    figures = in_turn({"watched": partial(watched, watchers=1_000, per_s=200, seconds=10)}, runs=runs)["watched"]
    report.section("Watchers", watchers.__doc__)
    p50 = f"p50 {figures['p50_ms']:.1f} ms"
    report.line("p99", f"{figures['p99_ms']:.1f} ms", p50, Bar.at_most(50, figures["p99_ms"]))
    least, sent = figures["least"], 2_000
    report.line("changes that each received", f"{least:,.0f}", f"of {sent:,}", Bar.at_least(sent, least))


def waits(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """From a job's last line to the answer of the request that waits for it; 200 other jobs run a second."""
    figures = in_turn({"waited": partial(waited, waits=400)}, runs=runs)["waited"]
    report.section("Waits", waits.__doc__)
    p50 = f"p50 {figures['p50_ms']:.2f} ms"
    report.line("p99", f"{figures['p99_ms']:.2f} ms", p50, Bar.at_most(20, figures["p99_ms"]))


def cancels(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """From the call of `cancel` to the end of the job that runs; 200 other jobs run a second."""
    figures = in_turn({"cancels": partial(ERRAND.measure, "cancels", 300)}, runs=runs)["cancels"]
    report.section("Cancels", cancels.__doc__)
    p50 = f"p50 {figures['p50_ms']:.2f} ms"
    report.line("p99", f"{figures['p99_ms']:.2f} ms", p50, Bar.at_most(100, figures["p99_ms"]))


def enqueueing(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """Jobs a second into the queue from one process, and what a queued job takes in Redis."""
    taken = in_turn(
        {
            "ours": partial(ERRAND.measure, "enqueue", 20_000),
            "memory": partial(ERRAND.measure, "memory", 20_000),
            "arq": partial(Candidate("arq", ARQ_TUNED.command).measure, "enqueue", 5_000),
        },
        runs=runs,
    )
    mine, arq = taken["ours"] | taken["memory"], taken["arq"]
    report.section("Enqueue", enqueueing.__doc__)
    for kind, what in (("concurrent", "a hundred callers"), ("one_by_one", "one caller"), ("many", "10,000 in a call")):
        rate = mine[f"{kind}_per_s"]
        report.line(what, f"{rate / arq['concurrent_per_s']:.1f} x", f"{rate:,.0f} jobs/s")
    report.line("arq, a hundred callers", "1", f"{arq['concurrent_per_s']:,.0f} jobs/s")
    ours_bytes, arq_bytes = mine["bytes_per_queued_job"], arq["bytes_per_queued_job"]
    report.line("memory of a queued job", f"{ours_bytes / arq_bytes:.2f} x arq's", f"{ours_bytes:.0f} bytes")


def webhooks(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """Webhooks a second of one worker with 100 slots, against a bare aiohttp loop with 100 posts of the same bodies,
    signed, in flight."""
    taken = in_turn({name: partial(posted, name, events=EVENTS) for name in ("bare", "deliver")}, runs=runs)
    bare, mine = taken["bare"], taken["deliver"]
    report.section("Webhooks", " ".join((webhooks.__doc__ or "").split()))
    ratio, of_processor = mine["per_s"] / bare["per_s"], bare["cpu_us"] / mine["cpu_us"]
    report.line("Errand", f"{ratio:.2f} x", f"{mine['per_s']:,.0f}/s", Bar.at_least(0.5, ratio))
    report.line("… by processor time", f"{of_processor:.2f} x", f"{mine['cpu_us']:.0f} µs each")
    report.line("a bare loop", "1", f"{bare['per_s']:,.0f}/s")


def fan_out(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """One event for a thousand endpoints over HTTP: from the request to the answer, which comes when all deliveries
    are put; also right after an endpoint was changed, and when a process has yet to read them all."""
    figures = in_turn({"": partial(fanned_out, endpoints=1_000, events=100)}, runs=runs)[""]
    report.section("An event for a thousand endpoints", " ".join((fan_out.__doc__ or "").split()))
    report.line("p50", f"{figures['p50_ms']:.0f} ms", "", Bar.at_most(100, figures["p50_ms"]))
    report.line("p99", f"{figures['p99_ms']:.0f} ms", "", Bar.at_most(100, figures["p99_ms"]))
    changed_ms = figures["changed_p50_ms"]
    report.line("after a change, p50", f"{changed_ms:.0f} ms", "", Bar.at_most(100, changed_ms))
    report.line("the first of a process", f"{figures['first_ms']:.0f} ms", "")


def hanging(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """One worker process while one of ten endpoints hangs and 10,000 events to it wait, against another one without
    them, in turn: webhooks a second to the other nine, and the time from the enqueue to the end with 200 webhooks, 50
    other jobs and 50 letters a second."""
    # each run has either of its two processes in both roles
    figures = in_turn({"": partial(beside_a_hanging_one, waiting=10_000)}, runs=(runs + 1) // 2)[""]
    report.section("Webhooks beside a hanging one", " ".join((hanging.__doc__ or "").split()))
    rate, by_processor = (figures[f"hung_{name}"] / figures[f"alone_{name}"] for name in ("per_s", "cpu_us"))
    report.line("webhooks a second", f"{rate:.2f} x", f"{figures['hung_per_s']:,.0f}/s", Bar.at_least(0.95, rate))
    report.line("… by processor time", f"{1 / by_processor:.2f} x", f"{figures['hung_cpu_us']:.0f} µs each")
    for kind in ("webhooks", "letters", "others"):
        p99 = figures[f"alone_{kind}_p99_ms"] / figures[f"hung_{kind}_p99_ms"]
        detail = f"p50 {figures[f'hung_{kind}_p50_ms']:.0f} ms, p99 {figures[f'hung_{kind}_p99_ms']:.1f} ms"
        report.line(f"{kind}, p99", f"{p99:.2f} x", detail, Bar.at_least(0.95, p99))


def letters(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """Letters a second over 8 kept connections: as jobs of one worker, against a bare loop that makes a message of text
    and HTML for each and sends it by aiosmtplib; then the connections alone, with the same bytes for each."""
    measures = ("bare", "jobs", "bare_bytes", "pool_bytes")
    taken = in_turn({name: partial(letters_sent, name, letters=LETTERS) for name in measures}, runs=runs)
    report.section("Letters", " ".join((letters.__doc__ or "").split()))
    for what, mine, bare in (("as jobs", "jobs", "bare"), ("connections alone", "pool_bytes", "bare_bytes")):
        ratio = taken[mine]["per_s"] / taken[bare]["per_s"]
        by_processor = taken[bare]["cpu_us"] / taken[mine]["cpu_us"]
        report.line(what, f"{ratio:.2f} x", f"{taken[mine]['per_s']:,.0f}/s", Bar.at_least(0.85, ratio))
        report.line("… by processor time", f"{by_processor:.2f} x", f"{taken[mine]['cpu_us']:.0f} µs each")
        report.line("… a bare loop", "1", f"{taken[bare]['per_s']:,.0f}/s")


def hanging_mail(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """Webhooks and images a second of one worker process whose mail server hangs while 2,000 letters wait, against
    another one without letters, in turn."""
    figures = in_turn({"": partial(beside_hanging_mail, letters=2_000)}, runs=runs)[""]
    report.section("Beside a mail server that hangs", " ".join((hanging_mail.__doc__ or "").split()))
    for kind in ("webhooks", "images"):
        rate = figures[f"{kind}_ratio"]
        report.line(kind, f"{rate:.2f} x", f"{figures[f'{kind}_per_s']:,.0f}/s", Bar.at_least(0.95, rate))
    by_processor, each_us = 1 / figures["webhooks_cpu_ratio"], figures["webhooks_cpu_us"]
    report.line("webhooks, by processor time", f"{by_processor:.2f} x", f"{each_us:.0f} µs each")


def idle(report: Report, peers: list[Candidate], *, runs: int) -> None:
    """What a worker process, all its queues served, costs while it has nothing to do."""
    figures = in_turn({"idle": partial(ERRAND.measure, "idle", 20)}, runs=runs)["idle"]
    report.section("Idle worker", idle.__doc__)
    calls, core = figures["calls_per_s"], figures["core_percent"]
    report.line("Redis calls", f"{calls:.2f} /s", "", Bar.at_most(3, calls))
    report.line("processor", f"{core:.2f} % of a core", "", Bar.at_most(1, core))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--peers", action="store_true", help="measure SAQ, taskiq, streaq and dramatiq as well")
    parser.add_argument("--runs", type=int, default=3, help="how many runs the medians are of")
    parser.add_argument("--only", default="", help="one section: throughput, pickup, deferred, depth, workers, …")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
