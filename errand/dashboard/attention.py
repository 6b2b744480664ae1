"""What needs attention, in plain words, each with the way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from errand.dashboard.wording import duration, number
from errand.monitor.queues import QueueState, WorkerState

MAX_LAG_MS = 1_000.0
"""A loop that is later than that holds up every job of its worker."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that somebody should look at."""

    says: str
    way_out: str
    """What to do, as the text of a link."""
    path: str
    """Where to do it, below the dashboard's path."""


def needs(
    queues: Sequence[QueueState],
    workers: Sequence[WorkerState],
    *,
    types: Mapping[str, str],
    disabled: Sequence[str] = (),
) -> list[Need]:
    """All of them, the worst first; none if all is well.

    `types` are the job types of this service, each with its queue; `disabled` the ids of webhook endpoints.
    """
    return [
        *_of_queues(queues),
        *_unknown(types, workers),
        *_of_workers(workers),
        *_dead(queues),
        *(Need(f"The webhook endpoint {id_} is disabled.", "See why", f"/webhook-endpoints/{id_}") for id_ in disabled),
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


def _dead(queues: Sequence[QueueState]) -> Iterator[Need]:
    for queue in queues:
        if queue.dead:
            says = f"{_jobs(queue.dead)} of the queue {queue.name} failed for good."
            yield Need(says, "See what they died of", f"/dead-jobs?queue={quote(queue.name)}")


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{number(count)} jobs"
