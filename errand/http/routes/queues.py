"""`/v1/queues`, `/v1/workers`, `/v1/stats`, `/metrics`: how much work there is, and which workers do it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field

from errand.http.answers import prometheus as metrics
from errand.http.answers.problems import ERRORS, Problem, documented
from errand.http.gates import auth
from errand.http.shared import Shared, SharedDep, in_time
from errand.monitor.queues import QueueState, WorkerState, read_queues, read_workers
from errand.wire.limits import shown_ms

router = APIRouter(tags=["queues and workers"])


QueueName = Annotated[str, Path(max_length=64, description="the queue's name", examples=["default"])]


UNKNOWN = {**documented({404: "no such queue"}), 422: ERRORS[422]}


READ_ERRORS: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (401, 403, 429, 503)}


class MinuteView(BaseModel):
    """The attempts that ended in one minute."""

    at: datetime = Field(description="when it began")
    attempts: dict[str, int] = Field(description="attempts by their outcome")


class QueueView(BaseModel):
    """One queue."""

    name: str
    paused: bool
    due: int = Field(description="jobs that could run now")
    deferred: int = Field(description="jobs due later, or waiting for their next attempt")
    in_progress: int
    dead: int = Field(description="jobs that have failed for good and are kept")
    oldest_due_s: float | None = Field(description="for how long the first of the due jobs has been waiting")
    workers: int = Field(description="live workers that serve it")
    last_minutes: list[MinuteView] = Field(
        description="the minutes of the last fifteen in which attempts ended, the latest first; a few seconds late, "
        "as the workers' heartbeats report"
    )
    links: dict[str, str]


class RunningView(BaseModel):
    """A job that a worker runs."""

    id: str
    started_at: datetime


class WorkerView(BaseModel):
    """One worker process."""

    host: str
    pid: int
    version: str | None = Field(description="its version of Errand; null if it does not say")
    queues: list[str]
    slots: int = Field(description="how many jobs it runs at once, in all of its queues")
    draining: bool = Field(description="true if it is about to stop and takes no more jobs")
    loop_lag_ms: float | None = Field(
        description="how late its event loop was at most since its last heartbeat; large if a job blocks it"
    )
    last_heartbeat_at: datetime
    running: list[RunningView]


class Stats(BaseModel):
    """All queues together, for autoscaling."""

    due: int
    deferred: int
    in_progress: int
    oldest_due_s: float | None
    workers: int = Field(description="live worker processes")


@router.get(
    "/v1/queues",
    responses=READ_ERRORS,
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_queues",
)
async def list_queues(to: SharedDep) -> list[QueueView]:
    """Every queue that a job type uses: its jobs by state, and for how long the oldest due one has waited."""
    return [_queue_view(queue, to.root_path) for queue in await _read(to)]


@router.post(
    "/v1/queues/{name}/pause",
    responses={**READ_ERRORS, **UNKNOWN},
    dependencies=[Depends(auth.require("admin"))],
    operation_id="pause_queue",
)
async def pause_queue(name: QueueName, to: SharedDep) -> QueueView:
    """Stops workers from taking jobs from the queue until it is resumed; running jobs go on, new ones are accepted."""
    _check_known(to, name)
    await in_time(to.queues[name].pause())
    return _queue_view((await _read(to, name))[0], to.root_path)


@router.post(
    "/v1/queues/{name}/resume",
    responses={**READ_ERRORS, **UNKNOWN},
    dependencies=[Depends(auth.require("admin"))],
    operation_id="resume_queue",
)
async def resume_queue(name: QueueName, to: SharedDep) -> QueueView:
    """Ends a pause: workers take jobs from the queue again."""
    _check_known(to, name)
    await in_time(to.queues[name].resume())
    return _queue_view((await _read(to, name))[0], to.root_path)


@router.get(
    "/v1/workers",
    responses=READ_ERRORS,
    dependencies=[Depends(auth.require("read"))],
    operation_id="list_workers",
)
async def list_workers(to: SharedDep) -> list[WorkerView]:
    """Every live worker process, the queues it serves and the jobs it runs."""
    workers = await in_time(read_workers(to.clients, list(to.queues), silent_s=to.settings.lease_s))
    return [_worker_view(worker) for worker in workers]


@router.get(
    "/v1/stats",
    responses=READ_ERRORS,
    dependencies=[Depends(auth.require("read"))],
    operation_id="get_stats",
)
async def get_stats(to: SharedDep) -> Stats:
    """How many jobs wait and run in all queues. Scale workers by `due`, which does not count jobs due later."""
    queues = await _read(to)
    workers = await in_time(read_workers(to.clients, list(to.queues), silent_s=to.settings.lease_s))
    oldest_ms = max((queue.oldest_due_ms for queue in queues if queue.oldest_due_ms is not None), default=None)
    return Stats(
        due=sum(queue.due for queue in queues),
        deferred=sum(queue.deferred for queue in queues),
        in_progress=sum(queue.in_progress for queue in queues),
        oldest_due_s=None if oldest_ms is None else oldest_ms / 1000,
        workers=len(workers),
    )


@router.get(
    "/metrics",
    responses=READ_ERRORS,
    response_class=Response,
    dependencies=[Depends(auth.require("read"))],
    operation_id="get_metrics",
)
async def get_metrics(request: Request, to: SharedDep) -> Response:
    """The state of all queues and the counters of attempts, in Prometheus' text format."""
    return Response(
        metrics.as_text(await _read(to), refused=request.app.state.record.refused.counts), media_type=metrics.MEDIA_TYPE
    )


async def _read(to: Shared, *names: str) -> list[QueueState]:
    return await in_time(read_queues(to.clients, names or list(to.queues), silent_s=to.settings.lease_s))


def _check_known(to: Shared, name: str) -> None:
    if name not in to.queues:
        raise Problem(404, "unknown-queue", f"There is no queue '{name}'. The queues are: {', '.join(to.queues)}.")


def _queue_view(queue: QueueState, root_path: str) -> QueueView:
    path = f"{root_path}/v1/queues/{queue.name}"
    return QueueView(
        name=queue.name,
        paused=queue.paused,
        due=queue.due,
        deferred=queue.deferred,
        in_progress=queue.in_progress,
        dead=queue.dead,
        oldest_due_s=None if queue.oldest_due_ms is None else queue.oldest_due_ms / 1000,
        workers=queue.workers,
        last_minutes=[
            MinuteView(at=datetime.fromtimestamp(shown_ms(at_ms) / 1000, UTC), attempts=dict(attempts))
            for at_ms, attempts in queue.last_minutes.items()
        ],
        links={"resume": f"{path}/resume"} if queue.paused else {"pause": f"{path}/pause"},
    )


def _worker_view(worker: WorkerState) -> WorkerView:
    return WorkerView(
        host=worker.host,
        pid=worker.pid,
        version=worker.version,
        queues=worker.queues,
        slots=worker.slots,
        draining=worker.draining,
        loop_lag_ms=worker.loop_lag_ms,
        last_heartbeat_at=_utc(worker.last_heartbeat_ms),
        running=[RunningView(id=job_id, started_at=_utc(at_ms)) for job_id, at_ms in worker.running.items()],
    )


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(shown_ms(at_ms) / 1000, UTC)
