"""The workers: which versions, how late, what each runs since when, and which types only some of them know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter

from fastapi import Depends, Request, Response

from errand.dashboard import gate
from errand.dashboard.page_route import page_router
from errand.dashboard.rendering import page
from errand.http.shared import SharedDep, in_time
from errand.monitor.queues import WorkerState, read_workers

router = page_router("/workers")

MAX_RUNNING = 20
"""So many jobs of one worker are listed, those that have run the longest."""


@router.get("", dependencies=[Depends(gate.may_look)])
async def list_workers(request: Request, to: SharedDep) -> Response:
    """Every live worker process."""
    workers = await in_time(read_workers(to.clients, list(to.queues), silent_s=to.settings.lease_s))
    return page(
        request,
        "workers.html.j2",
        workers=workers,
        running=longest(workers, most=MAX_RUNNING),
        versions=Counter(worker.version or "unknown" for worker in workers),
        partly_known=partly_known(workers),
    )


def longest(workers: Sequence[WorkerState], *, most: int) -> Mapping[int, Sequence[tuple[str, int]]]:
    """What each runs, as ids with when they began: those that have run the longest. By the worker's identity."""
    return {id(worker): sorted(worker.running.items(), key=itemgetter(1))[:most] for worker in workers}


def partly_known(workers: Sequence[WorkerState]) -> Mapping[str, Sequence[WorkerState]]:
    """Types that some live workers know and others do not, as during a deploy, with those that know them."""
    saying = [worker for worker in workers if worker.types is not None]
    names = sorted({name for worker in saying for name in worker.types or ()})
    knowing = {name: [worker for worker in saying if name in (worker.types or ())] for name in names}
    return {name: known for name, known in knowing.items() if len(known) < len(saying)}
