"""Says why a job waits, in a word for programs and in a sentence.

The reason is found in what Redis keeps anyway: the job, its queue's pause, the reports of its workers. A job that is
due later costs no further call, one that is due one round trip. Stock workers send no reports and are not seen here.
"""

from __future__ import annotations

import typing
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from arq.connections import ArqRedis

from errand.job.schedule import schedule_of
from errand.monitor.job_snapshot import JobSnapshot
from errand.wire import keys
from errand.wire.flow import Needs
from errand.wire.records import Progress
from errand.wire.worker_report import WorkerReport, live_reports

Code = Literal[
    "delayed",
    "scheduled",
    "retrying",
    "asked_to_wait",
    "dependency",
    "put_back",
    "domain_slowed",
    "domain_busy",
    "domain_paced",
    "endpoint_busy",
    "endpoint_throttled",
    "endpoint_failing",
    "endpoint_rate",
    "endpoint_order",
    "lookups_busy",
    "concurrency_limit",
    "rate_limit",
    "queue_paused",
    "no_worker",
    "type_unknown",
    "workers_busy",
    "expired",
    "due",
]


MAX_LOOKED_AT = 100
"""Of the jobs that one waits for, to name some that have not ended."""


MAX_NAMED = 3


CODES = frozenset(typing.get_args(Code))


AS_SOON_AS_THERE_IS_ROOM = ("endpoint_busy", "endpoint_failing")
"""What waits so is made due by who knows of the room, mostly long before its own time."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a job waits, and until when, in ms since the epoch, if that is known."""

    code: Code
    detail: str
    until_ms: int | None = None
    progress: Progress | None = None
    """Of a job that waits for others: how many of them have ended."""


async def why_waiting(redis: ArqRedis, job: JobSnapshot, *, silent_s: float) -> Waiting | None:
    """None if the job runs or has ended; a worker that was silent for `silent_s` seconds does not count."""
    if job.held and job.flow.needs is not None:
        return await _for_others(redis, job.id, job.flow.needs)
    if job.status == "deferred" and job.run_at_ms is not None:
        return _for_its_time(job, job.run_at_ms)
    if job.status not in ("queued", "deferred"):
        return None
    queue = keys.queue(job.queue)
    async with redis.pipeline(transaction=False) as pipeline:
        pipeline.exists(keys.paused(queue))
        pipeline.time()
        pipeline.zrange(keys.workers(queue), 0, -1, withscores=True)
        pipeline.hgetall(keys.reports(queue))
        pipeline.hlen(keys.running(queue))
        paused, (seconds, micros), heartbeats, reports, running = await pipeline.execute()
    now_ms = seconds * 1000 + micros // 1000
    if job.expires_at_ms is not None and job.expires_at_ms <= now_ms and job.attempt == 0:
        detail = (
            f"Was to begin by {_shown(job.expires_at_ms)} and has not; whichever worker comes to it ends it as failed."
        )
        return Waiting("expired", detail)
    if paused:
        return Waiting("queue_paused", f"The queue '{job.queue}' is paused; the job can begin when it is resumed.")
    live = live_reports(heartbeats, reports, now_ms=now_ms, silent_s=silent_s)
    return _for_a_worker(job, live.values(), running)


async def _for_others(redis: ArqRedis, job_id: str, needs: Needs) -> Waiting:
    named = [other for other, _ in needs.jobs[:MAX_LOOKED_AT]]
    async with redis.pipeline(transaction=True) as pipeline:
        pipeline.hmget(keys.needs(job_id), ["left", *(f"job:{other}" for other in named)])
        pipeline.time()
        (left, *ends), (seconds, micros) = await pipeline.execute()
    number, still = len(needs.jobs), int(left or 0)
    running = [other for other, end in zip(named, ends, strict=True) if end == b""]
    such_as = f", such as {', '.join(running[:MAX_NAMED])}" if running else ""
    if number == 1:
        detail = f"Waits for the end of the job {needs.jobs[0][0]}."
    else:
        detail = f"Waits for the end of {still} of {number} jobs{such_as}."
    progress = Progress(
        fraction=(number - still) / number,
        note=f"{number - still} of {number} jobs have ended",
        at_ms=seconds * 1000 + micros // 1000,
    )
    return Waiting("dependency", detail, progress=progress)


def _for_its_time(job: JobSnapshot, until_ms: int) -> Waiting:
    at = _shown(until_ms)
    if job.put_back is not None:
        code = typing.cast(Code, job.put_back.code if job.put_back.code in CODES else "put_back")
        if code == "type_unknown":
            return Waiting(code, _unknown(job))
        if code in ("concurrency_limit", "rate_limit"):
            return Waiting(code, f"Waits in line: {job.put_back.reason}.")
        again = f"as soon as there is room, at {at} at the latest" if code in AS_SOON_AS_THERE_IS_ROOM else f"at {at}"
        return Waiting(code, f"Waits for its turn: {job.put_back.reason}. It is looked at again {again}.", until_ms)
    if job.attempts:
        last = job.attempts[-1]
        because = f" after {last.error.type}: {last.error.message}" if last.error else ""
        if last.wait_asked:
            # a Retry-After of an endpoint comes by the same way
            detail = f"Waits until {at} for its next attempt, for as long as attempt {last.number} asked{because}"
            return Waiting("asked_to_wait", detail, until_ms)
        return Waiting("retrying", f"Waits until {at} for its next attempt{because}", until_ms)
    if schedule_id := schedule_of(job.id):
        return Waiting("scheduled", f"Is due at {at}, by the schedule '{schedule_id}'.", until_ms)
    return Waiting("delayed", f"Is due at {at}, as was asked.", until_ms)


def _for_a_worker(job: JobSnapshot, live: Collection[WorkerReport], running: int) -> Waiting:
    """Why a job that is due waits. `live` are the workers of its queue, in which `running` jobs run."""
    taking = [report for report in live if not report.draining]
    if not taking:
        what = f"All live workers of the queue '{job.queue}' are draining" if live else _nobody(job.queue)
        return Waiting("no_worker", f"{what}: start one (make run-worker), with the queue in its WORKER_QUEUES.")
    if not any(report.knows(job.type) for report in taking):
        return Waiting("type_unknown", _unknown(job))
    slots = sum(report.slots for report in live)
    if 0 < slots <= running:
        return Waiting("workers_busy", _busy(job.queue, slots, len(taking)))
    return Waiting("due", "Is due, and is claimed as soon as a worker comes to it.")


def _nobody(queue: str) -> str:
    return f"No live worker serves the queue '{queue}'"


def _unknown(job: JobSnapshot) -> str:
    what = f"No live worker of the queue '{job.queue}' knows the type '{job.type}'"
    how = "the job begins soon after one that does has started. Name the type's package in the workers' JOB_PACKAGES."
    return f"{what}; {how}"


def _busy(queue: str, slots: int, workers: int) -> str:
    whose = "its worker" if workers == 1 else f"its {workers} workers"
    taken = f"All slots of the queue '{queue}' are taken ({slots} of {slots}, of {whose})"
    return f"{taken}; the job begins when one is free."


def _shown(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
