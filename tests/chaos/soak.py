"""`make soak`: a steady load without faults; memory of every process and the keys in Redis must stay as they are.

Ended jobs are forgotten after a sixth of the run: what comes and what goes are in balance long before its middle.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean

import uvloop
from redis.asyncio import Redis

from tests.bench.report import Bar
from tests.chaos import accounting, journal
from tests.chaos.house import House
from tests.chaos.load.ledger import Ledger
from tests.chaos.load.load import Load
from tests.chaos.load.mix import Mix
from tests.chaos.program import Program
from tests.chaos.receivers import Receivers
from tests.chaos.report import Line, broken
from tests.chaos.run import DUE_SOON_S, SETTLE_LIMIT_S
from tests.chaos.server.server import OneServer

SAMPLE_EVERY_S = 1.0
GROWTH_LIMIT = 1.05
SHORTEST_FOR_VERDICT_S = 300
"""In less the allocators of fresh processes have not come to rest."""
KIB = 1024
EXPIRED_FACTOR = 1.33
"""Redis finds expired keys by samples, and is content while no more than a quarter of those it has are such."""
KEYS_BESIDE_JOBS = 500
"""Of queues, workers, and jobs that have not ended."""


@dataclass
class Samples:
    """What was measured, once a second, by what it is of."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, measured: Mapping[str, float]) -> None:
        for name, value in measured.items():
            self.values.setdefault(name, []).append(value)

    def third(self, name: str, number: int) -> float:
        """The mean of the first, second or third part of the run."""
        values = self.values[name]
        each = len(values) // 3
        return fmean(values[each * number : each * (number + 1)])

    def growth(self, name: str) -> float:
        """The last third's mean by the middle one's."""
        return self.third(name, 2) / self.third(name, 1)


def main() -> int:
    """Runs, prints the table, and returns 1 where something grew or was lost."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="errand-soak-"))
    print(f"{options.seconds:g} s at {options.rate:g} jobs/s; logs in {folder}", flush=True)
    lines = uvloop.run(soak(options, folder))
    print("\n".join(line.text() for line in lines), flush=True)
    missed = broken(lines)
    print(f"\n{len(missed)} promises broken", flush=True)
    if not missed:
        shutil.rmtree(folder)
    return int(bool(missed))


async def soak(options: argparse.Namespace, folder: Path) -> list[Line]:
    """The figures of one soak."""
    ttl_s = max(options.seconds / 6, 5)
    settings = {"RESULT_TTL_S": f"{ttl_s}", "DEAD_TTL_S": f"{ttl_s}"}
    samples, random = Samples(), Random(options.seed)
    async with (
        Receivers.serving(random) as receivers,
        OneServer.open(folder, workers=options.workers, random=random, fsync="everysec") as server,
        House.open(folder, receivers, server, workers=options.workers, settings=settings) as house,
    ):
        load = Load(
            api_url=house.api_url,
            hook_url=receivers.http_url,
            lease_s=10,
            mix=Mix.of_soak(options.rate),
            random=random,
        )
        await load.run_while(_sample(house, server.client, samples, options.seconds))
        await accounting.runs_empty([server.client], due_within_s=DUE_SOON_S, limit_s=SETTLE_LIMIT_S)
        done = {entry.job_id for entry in journal.read(house.data_dir) if entry.what == "did"}
        return [
            *_load_lines(load.ledger, done, options),
            *_memory_lines(samples, judged=options.seconds >= SHORTEST_FOR_VERDICT_S),
            *_key_lines(samples, rate=len(load.ledger.accepted) / options.seconds, ttl_s=ttl_s),
        ]


async def _sample(house: House, redis: Redis, samples: Samples, seconds: float) -> None:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        info, number = await redis.info("memory"), await redis.dbsize()
        rss = {f"{program.name}, MiB": _rss_bytes(program) / KIB**2 for program in house.programs[1:]}
        samples.add({**rss, "redis used_memory, MiB": info["used_memory"] / KIB**2, "keys": number})
        await asyncio.sleep(SAMPLE_EVERY_S)


def _rss_bytes(program: Program) -> int:
    """The resident memory of a process, from Linux' /proc."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return next(int(line.split()[1]) * KIB for line in status.splitlines() if line.startswith("VmRSS:"))


def _load_lines(ledger: Ledger, done: set[str], options: argparse.Namespace) -> list[Line]:
    accepted = len(ledger.accepted)
    wanted = [job_id for job_id, wish in ledger.accepted.items() if (wish.type, wish.end) == ("noop", "succeeded")]
    missing = [job_id for job_id in wanted if job_id not in done]
    rate = accepted / options.seconds
    least = 0.9 * options.rate
    return [
        Line("Load", "jobs accepted", f"{accepted:,}"),
        Line("Load", "jobs a second", f"{rate:,.0f}", Bar.at_least(least, rate)),
        Line("Load", "no-ops that never ran", f"{len(missing)}", Bar.at_most(0, len(missing)), missing),
    ]


def _memory_lines(samples: Samples, *, judged: bool) -> list[Line]:
    names: Sequence[str] = [name for name in samples.values if name != "keys"]
    return [
        Line(
            "Memory",
            f"{name}: mean of each third, and growth",
            ", ".join(f"{samples.third(name, number):.1f}" for number in range(3)) + f"; {samples.growth(name):.3f} x",
            Bar.at_most(GROWTH_LIMIT, samples.growth(name)) if judged else None,
        )
        for name in names
    ]


def _key_lines(samples: Samples, *, rate: float, ttl_s: float) -> list[Line]:
    """An ended job is one key, for as long as it is kept."""
    most, bound = max(samples.values["keys"]), EXPIRED_FACTOR * rate * ttl_s + KEYS_BESIDE_JOBS
    growth = samples.growth("keys")
    return [
        Line("Keys", f"most at once, of {rate:,.0f} jobs/s kept {ttl_s:g} s", f"{most:,.0f}", Bar.at_most(bound, most)),
        Line("Keys", "growth, last third by the middle one", f"{growth:.3f} x", Bar.at_most(GROWTH_LIMIT, growth)),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=500, help="jobs a second; at least 40")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
