"""What routes share: opened once in the app's lifespan, handed to each request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from arq.connections import ArqRedis
from fastapi import Depends, Request

from jobs.engine.catalog import Catalog
from jobs.engine.job_ends import JobEnds
from jobs.engine.queue import Queue
from jobs.resources.storage import Storage
from settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """The service's connections."""

    settings: Settings
    catalog: Catalog
    redis: ArqRedis
    queue: Queue
    ends: JobEnds
    storage: Storage


def shared(request: Request) -> Shared:
    """What the lifespan opened."""
    opened: Shared = request.app.state.shared
    return opened


SharedDep = Annotated[Shared, Depends(shared)]
