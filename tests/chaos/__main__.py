"""`make chaos`: breaks the house at random from a printed seed, then accounts; ends with 1 where a promise broke."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from tests.chaos import report
from tests.chaos.cluster.store import SERVERS
from tests.chaos.program import ROOT
from tests.chaos.run import Plan, Run, run

LEAST_RATE = 40
"""What goes beside the batches takes 21 of it."""
PAGE = ROOT / "docs" / "reliability.md"


def main() -> int:
    """Runs, reports, and returns 1 where a promise broke."""
    options = _options()
    results = [_one(options, seed) for seed in range(options.seed, options.seed + options.runs)]
    if options.write:
        when = datetime.now(UTC).date().isoformat()
        name = report.NAME_OF_CLUSTER if options.cluster else report.NAME
        report.replace_between_marks(PAGE, report.as_markdown(results, when=when), name=name)
    return int(any(report.broken(lines) for _, lines in results))


def _one(options: argparse.Namespace, seed: int) -> tuple[Run, list[report.Line]]:
    plan = Plan(
        seconds=options.seconds,
        seed=seed,
        workers=options.workers,
        rate=options.rate,
        fsync=options.fsync,
        cluster=options.cluster,
        partitions=options.partitions,
    )
    folder = Path(tempfile.mkdtemp(prefix="errand-chaos-"))
    print(f"seed {seed}: {plan.seconds:g} s of faults; logs in {folder}", flush=True)
    done = uvloop.run(run(plan, folder, say=_say if options.verbose else _say_nothing))
    lines = report.lines_of(done, leeway=options.leeway)
    print(report.as_text(done, lines), flush=True)
    if report.broken(lines) or options.keep:
        cluster = f" CLUSTER={plan.cluster}" if plan.cluster else ""
        print(
            f"the logs stay in {folder}; once more: make chaos{cluster} SECONDS={plan.seconds:g} SEED={seed}",
            flush=True,
        )
    else:
        shutil.rmtree(folder)
    return done, lines


def _say(text: str) -> None:
    print(text, flush=True)


def _say_nothing(text: str) -> None:
    """The table counts the faults."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos")
    parser.add_argument("--seconds", type=float, default=60, help="how long faults are made, under load")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000), help="what the faults are drawn from")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument(
        "--rate", type=float, default=report.USUAL_RATE, help="jobs a second, of all kinds; at least 40"
    )
    parser.add_argument("--runs", type=int, default=1, help="as many runs, each with the next seed")
    parser.add_argument("--cluster", choices=SERVERS, default="", help="a cluster of these servers, not one Redis")
    parser.add_argument("--partitions", type=int, default=1, help="of the queues, in a cluster")
    parser.add_argument("--fsync", choices=("always", "everysec"), default="always", help="of Redis' append-only file")
    parser.add_argument("--leeway", type=float, default=1, help="multiplies the bars on time, for a busy machine")
    parser.add_argument("--write", action="store_true", help="puts the table into docs/reliability.md")
    parser.add_argument("--keep", action="store_true", help="keeps the logs of a run without fault, too")
    parser.add_argument("--verbose", action="store_true", help="prints each fault")
    options = parser.parse_args()
    if options.rate < LEAST_RATE or options.workers < 1 or options.seconds <= 0 or options.runs < 1:
        parser.error(f"it needs SECONDS > 0, RATE >= {LEAST_RATE}, and at least one worker and one run")
    if options.partitions != 1 and not options.cluster:
        parser.error("only a cluster has PARTITIONS")
    return options


if __name__ == "__main__":
    sys.exit(main())
