"""Draws queues, workers and jobs, or one job, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from errand.cli.terminal import harmless
from errand.cli.top.view import HELP, View
from errand.monitor.job_snapshot import JobSnapshot
from errand.monitor.queues import QueueState, WorkerState

STYLES = {"succeeded": "green", "failed": "red", "in_progress": "cyan", "deferred": "yellow", "cancelled": "dim"}


@dataclass(frozen=True, slots=True)
class Screen:
    """What one look at Redis has found."""

    queues: Sequence[QueueState]
    workers: Sequence[WorkerState]
    jobs: Sequence[JobSnapshot]


def draw(look: Screen, view: View) -> RenderableType:
    """Queues, workers and the newest jobs, one above the other; jobs alone if the view has no more."""
    jobs = _jobs(look.jobs, chosen=view.row)
    listed = f"jobs, {view.status.replace('_', ' ')}" if view.status else "jobs"
    if view.page == "jobs":
        return Group(_title(listed), jobs)
    return Group(_title("overview"), _queues(look.queues), _workers(look.workers), jobs)


def draw_help() -> RenderableType:
    """What each key does."""
    table = _table("Key", "Leads to")
    for key, words in HELP:
        table.add_row(key, words)
    return Group(_title("keys"), table)


def _title(page: str) -> Text:
    """The first line of every page."""
    return Text(f"errand top: {page} · {datetime.now(UTC):%H:%M:%S} UTC · ? keys · q end", style="dim")


def _queues(states: Sequence[QueueState]) -> Table:
    table = _table("Queue", "Due", "Deferred", "Running", "Dead", "Oldest due", "Workers")
    for queue in states:
        oldest = "" if queue.oldest_due_ms is None else _duration(queue.oldest_due_ms)
        name = f"{queue.name} (paused)" if queue.paused else queue.name
        numbers = (queue.due, queue.deferred, queue.in_progress, queue.dead)
        table.add_row(plain(name), *map(str, numbers), oldest, str(queue.workers))
    return table


def _workers(states: Sequence[WorkerState]) -> Table:
    table = _table("Worker", "Version", "Running", "Slots", "Loop lag")
    for worker in states:
        lag = "" if worker.loop_lag_ms is None else _duration(worker.loop_lag_ms)
        running = str(len(worker.running))
        table.add_row(
            plain(f"{worker.host}:{worker.pid}"), plain(worker.version or ""), running, str(worker.slots), lag
        )
    return table


def _jobs(jobs: Sequence[JobSnapshot], *, chosen: int) -> Table:
    table = _table("", "Status", "Type", "Id", "Attempt", "When", "Error")
    for at, job in enumerate(jobs):
        error = f"{job.error.type}: {job.error.message}" if job.error else ""
        at_ms = job.finished_at_ms or job.run_at_ms or job.enqueued_at_ms
        is_chosen = at == min(chosen, len(jobs) - 1)
        row = (_status(job.status), plain(job.type), plain(job.id), str(job.attempt), _at(at_ms), plain(error))
        table.add_row(">" if is_chosen else "", *row, style="bold" if is_chosen else "")
    return table


def draw_job(job: JobSnapshot) -> RenderableType:
    """One job: its state, its times, its attempts. Its args are not shown: they may hold secrets."""
    head = Table.grid(padding=(0, 2))
    progress = f"{job.progress.fraction:.0%} {job.progress.note}" if job.progress else ""
    for name, value in (
        ("Job", plain(job.id)),
        ("Type", plain(job.type)),
        ("Status", _status(job.status)),
        ("Queue", plain(job.queue)),
        ("Due", _at(job.run_at_ms)),
        ("Started", _at(job.started_at_ms)),
        ("Finished", _at(job.finished_at_ms)),
        ("Progress", plain(progress)),
        ("Error", plain(f"{job.error.type}: {job.error.message}" if job.error else "")),
    ):
        head.add_row(Text(name, style="bold"), value)
    attempts = _table("Attempt", "Outcome", "Waited", "Ran", "Worker", "Error")
    for each in job.attempts:
        waited, ran = each.started_at_ms - each.due_at_ms, each.ended_at_ms - each.started_at_ms
        error = plain(f"{each.error.type}: {each.error.message}" if each.error else "")
        row = (_status(each.outcome), _duration(waited), _duration(ran), plain(each.worker), error)
        attempts.add_row(str(each.number), *row)
    return Group(_title("one job"), head, attempts)


def _table(*columns: str) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=3 if name in ("Error", "Id") else None)
    return table


def plain(text: str) -> Text:
    """The text as it is: no markup of rich, nothing that a terminal would act on."""
    return Text(harmless(text[:500]))


def _status(status: str) -> Text:
    return Text(status.replace("_", " "), style=STYLES.get(status, ""))


def _at(at_ms: int | None) -> Text:
    return Text("" if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC):%m-%d %H:%M:%S}")


def _duration(ms: float) -> str:
    seconds = ms / 1000
    return f"{ms:.0f} ms" if seconds < 1 else f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
