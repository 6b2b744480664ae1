"""`errand top`: queues, workers and jobs in a terminal, or one job, live; for those who have only ssh.

It reads Redis itself, as doctor does: it needs the settings of the installation, and no API.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from arq.connections import ArqRedis
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from errand.client.connection import redis_of
from errand.job.catalog import discover
from errand.monitor.job_snapshot import JobSnapshot, read_job
from errand.monitor.queues import QueueState, WorkerState, read_queues, read_workers
from errand.monitor.timeline import JobFilter, Timeline
from errand.process.start import exit_if_unusable
from errand.redis.connection import connect
from errand.redis.outage import REPLY_TIMEOUT_S
from errand.settings import Settings
from errand.wire import keys

STYLES = {"succeeded": "green", "failed": "red", "in_progress": "cyan", "deferred": "yellow", "cancelled": "dim"}

ROWS = 20

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
"""What others have written must not steer the terminal."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What one look at Redis has found."""

    queues: Sequence[QueueState]
    workers: Sequence[WorkerState]
    jobs: Sequence[JobSnapshot]


def show(settings: Settings, *, job_id: str | None, every_s: float, once: bool, console: Console | None = None) -> int:
    """Draws until Ctrl-C, or once; returns the exit code, 1 if there is no such job."""
    with exit_if_unusable():
        names = list(discover(settings.packages).queues)
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_show(settings, names, job_id, every_s, once=once, console=console or Console()))
    return 0


async def _show(
    settings: Settings, names: Sequence[str], job_id: str | None, every_s: float, *, once: bool, console: Console
) -> int:
    async with _connected(settings) as redis:
        drawn = await _drawn(redis, settings, names, job_id)
        if once or drawn is None:
            console.print(drawn or f"There is no job '{_plain(job_id or '')}'. It never was, or it has been forgotten.")
            return int(drawn is None)
        with Live(drawn, console=console, screen=True, auto_refresh=False) as live:
            while drawn is not None:
                live.update(drawn, refresh=True)
                await asyncio.sleep(every_s)
                drawn = await _drawn(redis, settings, names, job_id)
    return 0


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[ArqRedis]:
    async with redis_of(settings) as url:
        redis = connect(url, reply_timeout_s=REPLY_TIMEOUT_S)
        try:
            yield redis
        finally:
            await redis.aclose()


async def _drawn(
    redis: ArqRedis, settings: Settings, names: Sequence[str], job_id: str | None
) -> RenderableType | None:
    """The screen; None if there is no such job."""
    queues = [keys.queue(name) for name in names]
    if job_id is not None:
        job = await read_job(redis, job_id, queues=queues)
        return None if job is None else draw_job(job)
    look = Screen(
        await read_queues(redis, names, silent_s=settings.lease_s),
        await read_workers(redis, names, silent_s=settings.lease_s),
        (await Timeline(redis, queues=queues).page(JobFilter(), limit=ROWS)).jobs,
    )
    return draw(look)


def draw(look: Screen) -> RenderableType:
    """Queues, workers and the newest jobs, one above the other."""
    queues = _table("Queue", "Due", "Deferred", "Running", "Dead", "Oldest due", "Workers")
    for queue in look.queues:
        oldest = "" if queue.oldest_due_ms is None else _duration(queue.oldest_due_ms)
        name = f"{queue.name} (paused)" if queue.paused else queue.name
        numbers = (queue.due, queue.deferred, queue.in_progress, queue.dead)
        queues.add_row(_plain(name), *map(str, numbers), oldest, str(queue.workers))
    workers = _table("Worker", "Version", "Running", "Slots", "Loop lag")
    for worker in look.workers:
        lag = "" if worker.loop_lag_ms is None else _duration(worker.loop_lag_ms)
        running = str(len(worker.running))
        workers.add_row(_plain(f"{worker.host}:{worker.pid}"), worker.version, running, str(worker.slots), lag)
    jobs = _table("Status", "Type", "Id", "Attempt", "When", "Error")
    for job in look.jobs:
        error = f"{job.error.type}: {job.error.message}" if job.error else ""
        at_ms = job.finished_at_ms or job.run_at_ms or job.enqueued_at_ms
        jobs.add_row(_status(job.status), _plain(job.type), _plain(job.id), str(job.attempt), _at(at_ms), _plain(error))
    return Group(queues, workers, jobs)


def draw_job(job: JobSnapshot) -> RenderableType:
    """One job: its state, its times, its attempts. Its args are not shown: they may hold secrets."""
    head = Table.grid(padding=(0, 2))
    progress = f"{job.progress.fraction:.0%} {job.progress.note}" if job.progress else ""
    for name, value in (
        ("Job", _plain(job.id)),
        ("Type", _plain(job.type)),
        ("Status", _status(job.status)),
        ("Queue", _plain(job.queue)),
        ("Due", _at(job.run_at_ms)),
        ("Started", _at(job.started_at_ms)),
        ("Finished", _at(job.finished_at_ms)),
        ("Progress", _plain(progress)),
        ("Error", _plain(f"{job.error.type}: {job.error.message}" if job.error else "")),
    ):
        head.add_row(Text(name, style="bold"), value)
    attempts = _table("Attempt", "Outcome", "Waited", "Ran", "Worker", "Error")
    for each in job.attempts:
        waited, ran = each.started_at_ms - each.due_at_ms, each.ended_at_ms - each.started_at_ms
        error = _plain(f"{each.error.type}: {each.error.message}" if each.error else "")
        row = (_status(each.outcome), _duration(waited), _duration(ran), _plain(each.worker), error)
        attempts.add_row(str(each.number), *row)
    return Group(head, attempts)


def _table(*columns: str) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=3 if name in ("Error", "Id") else None)
    return table


def _plain(text: str) -> Text:
    """The text as it is: no markup of rich, nothing that a terminal would act on."""
    return Text(CONTROL.sub("·", text[:500]))


def _status(status: str) -> Text:
    return Text(status.replace("_", " "), style=STYLES.get(status, ""))


def _at(at_ms: int | None) -> Text:
    return Text("" if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC):%m-%d %H:%M:%S}")


def _duration(ms: float) -> str:
    seconds = ms / 1000
    return f"{ms:.0f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
