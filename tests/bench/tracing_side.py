"""Jobs that are put and run with OpenTelemetry away, off or on, in one process."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import uvloop

from tests.bench.candidate import cpu_s, main

AWAY, OFF, ON = 0, 1, 2
SAMPLED = "0.01"
CALLERS = 100


def prepare(mode: int) -> None:
    """Before anything of Errand is imported: hides the packages, or switches traces on as the command line does."""
    if mode == AWAY:
        for name in ("opentelemetry.sdk", "opentelemetry.exporter"):
            sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails, as if it were not installed
    from errand.tracing import current, switch

    switch.by_environment("bench")
    assert current.is_on() == (mode == ON)


async def throughput(url: str, number: float, mode: float) -> dict[str, Any]:
    """No-op jobs, each put by a call of its own, then run by one worker: processor time of both for each job."""
    prepare(int(mode))
    from errand.process.garbage import collect_less
    from tests.bench.errand_side import opened, until, working

    collect_less()  # as the worker's process does, once it has started
    async with opened(url) as (_, queue):

        async def caller() -> None:
            for _ in range(int(number) // CALLERS):
                await queue.enqueue("noop", {})

        used_s = cpu_s()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        put_s, used_s, started_s = cpu_s() - used_s, cpu_s(), time.perf_counter()
        async with working(url) as worker:
            await until(lambda: worker.jobs_complete >= number)
            took_s, run_s = time.perf_counter() - started_s, cpu_s() - used_s
    figures = {"put_us": put_s, "run_us": run_s, "cpu_us": put_s + run_s}
    return {name: value / number * 1e6 for name, value in figures.items()} | {"jobs_per_s": number / took_s}


if __name__ == "__main__":
    main({throughput.__name__: throughput}, uvloop.run)
