"""What a job costs: processor time of those who handle it, and memory while it is kept."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One thing that is done with each job, by a process that asks Redis: to put it, or to run it."""

    process_us: float
    """Processor time of the process, without what the job itself computes."""
    redis_us: float
    """Processor time of Redis."""
    alone_per_s: float
    """How many a second one process does that has a core for itself, and Redis another."""


@dataclass(frozen=True)
class Costs:
    """Of one job."""

    put: Step
    run: Step
    queued_bytes: float
    """What it takes in Redis while it waits, without its args."""
    kept_bytes: float
    """The same when it has ended."""


MEASURED = Costs(
    put=Step(process_us=102, redis_us=11.2, alone_per_s=9_824),
    run=Step(process_us=68, redis_us=57.3, alone_per_s=14_708),
    queued_bytes=272,
    kept_bytes=680,
)
"""By `python -m tests.bench --only scale`, beside other programs on both cores, so rather too much than too little;
what an API process does by `--only http` (docs/benchmarks.md)."""
