"""What needs attention, in plain words, each with the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from errand.dashboard.bulk.kept import BulkRun
from errand.dashboard.wording import ago, duration, number, of_ms
from errand.dead_jobs.dead_jobs import DeadGroup
from errand.doctor.server_checks import Finding
from errand.monitor.queues import QueueState, WorkerState
from errand.wire import keys

MAX_LAG_MS = 1_000.0
"""A loop that is later than that holds up every job of its worker."""

MAX_NAMED = 3
"""Of groups of dead jobs, and of endpoints: the others are counted."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that somebody should look at."""

    says: str
    way_out: str
    """What to do, as the text of a link."""
    path: str = ""
    """Where to do it, below the dashboard's path; empty if no page can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What the overview has read."""

    queues: Sequence[QueueState] = ()
    workers: Sequence[WorkerState] = ()
    types: Mapping[str, str]
    """The job types of this service, each with its queue."""
    groups: Sequence[DeadGroup] = ()
    """Of dead jobs, the largest first; empty if there are too many to be looked at."""
    disabled: Sequence[str] = ()
    """The ids of webhook endpoints that are sent nothing."""
    throttled: Mapping[str, int] | None = None
    """The id of each whose receiver has asked for a pause, and until when, in ms since the epoch."""
    interrupted: Sequence[BulkRun] = ()
    """Actions on many jobs that no process goes on with."""
    findings: Sequence[Finding] = ()
    """Doctor's warnings."""


def needs(seen: Overview) -> list[Need]:
    """All of them, the worst first; none if all is well."""
    return [
        *(Need(f"{each.found}. At risk: {each.risk}.", f"To do: {each.fix}") for each in seen.findings),
        *_of_queues(seen.queues),
        *_unknown(seen.types, seen.workers),
        *_of_workers(seen.workers),
        *_dead(seen),
        *_interrupted(seen.interrupted),
        *_endpoints(seen),
    ]


def _of_queues(queues: Sequence[QueueState]) -> Iterator[Need]:
    for queue in queues:
        waiting = queue.due + queue.deferred
        if queue.paused:
            yield Need(f"The queue {queue.name} is paused; {_jobs(queue.due)} due.", "Resume it", "/queues")
        elif queue.workers == 0 and waiting:
            says = f"No live worker serves the queue {queue.name}; {_jobs(queue.due)} due."
            yield Need(says, "Start one: make run-worker", "/workers")


def _unknown(types: Mapping[str, str], workers: Sequence[WorkerState]) -> Iterator[Need]:
    """Types that none of the live workers of their queue knows, if all of these say what they know."""
    for name, queue in types.items():
        serving = [worker for worker in workers if queue in worker.queues]
        if serving and all(worker.types is not None and name not in worker.types for worker in serving):
            says = f"No live worker of the queue {queue} knows the type {name}: its jobs wait."
            yield Need(says, "Name its package in the workers' JOB_PACKAGES", "/workers")


def _of_workers(workers: Sequence[WorkerState]) -> Iterator[Need]:
    for worker in workers:
        if worker.loop_lag_ms is not None and worker.loop_lag_ms > MAX_LAG_MS:
            lag = duration(worker.loop_lag_ms / 1000)
            says = f"A job holds up the worker {worker.host}:{worker.pid}: its event loop was {lag} late."
            yield Need(says, "See what it runs", "/workers")


def _dead(seen: Overview) -> Iterator[Need]:
    """The largest groups; queue by queue if nobody could look at the groups."""
    for group in seen.groups[:MAX_NAMED]:
        entry, name = group.newest, keys.queue_name(group.queue)
        says = f"{_jobs(group.count)} of the type {entry.type} failed for good: {entry.fingerprint}"
        path = f"/dead-jobs?queue={quote(name)}&type={quote(entry.type)}"
        path += f"&about={quote(entry.about)}" if entry.about else ""
        yield Need(f"{says}, last {ago(of_ms(entry.ended_at_ms))}.", "See one of them, and replay", path)
    if (others := len(seen.groups) - MAX_NAMED) > 0:
        jobs = sum(group.count for group in seen.groups[MAX_NAMED:])
        yield Need(f"{_jobs(jobs)} failed for good in {_count(others, 'further group')}.", "See them", "/dead-jobs")
    for queue in seen.queues if not seen.groups else ():
        if queue.dead:
            says = f"{_jobs(queue.dead)} of the queue {queue.name} failed for good."
            yield Need(says, "See what they died of", f"/dead-jobs?queue={quote(queue.name)}")


def _interrupted(runs: Sequence[BulkRun]) -> Iterator[Need]:
    for run in runs:
        says = f"The run that was to {run.action} many jobs was interrupted after {_jobs(run.done + run.skipped)}."
        yield Need(says, "Go on with it, or leave it", f"/bulk/{run.id}")


def _endpoints(seen: Overview) -> Iterator[Need]:
    for endpoint_id in seen.disabled[:MAX_NAMED]:
        says = f"The webhook endpoint {endpoint_id} is disabled."
        yield Need(says, "See why, and enable it", f"/webhook-endpoints/{endpoint_id}")
    if (others := len(seen.disabled) - MAX_NAMED) > 0:
        yield Need(f"{_count(others, 'further webhook endpoint')} disabled.", "See them", "/webhook-endpoints")
    throttled = list((seen.throttled or {}).items())
    for endpoint_id, until_ms in throttled[:MAX_NAMED]:
        says = (
            f"The receiver of the webhook endpoint {endpoint_id} asks for a pause, which ends {ago(of_ms(until_ms))}."
        )
        yield Need(says, "See what it answers", f"/webhook-endpoints/{endpoint_id}")
    if (others := len(throttled) - MAX_NAMED) > 0:
        yield Need(f"{_count(others, 'further webhook endpoint')} throttled.", "See them", "/webhook-endpoints")


def _jobs(count: int) -> str:
    return _count(count, "job")


def _count(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{number(count)} {noun}s"
