"""Resources that a worker opens once for its jobs: declared by `@job(uses=[...])`, taken by `ctx.use(...)`.

Each opener imports its library when it is opened, so that naming it in a job type costs the API nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from errand.extras import needs
from errand.settings import Settings

if TYPE_CHECKING:
    from errand.resources.outbound import Outbound
    from errand.resources.process_pool import ProcessPool
    from errand.resources.storage import Storage


@asynccontextmanager
async def storage(settings: Settings) -> AsyncIterator[Storage]:
    """The files: uploads that jobs read, outputs that they write."""
    from errand.resources.storage import Storage

    yield Storage.at(settings.files_url)


@asynccontextmanager
async def process_pool(settings: Settings) -> AsyncIterator[ProcessPool]:
    """`CPU_PROCESSES` processes for work that would block the event loop."""
    from errand.resources.process_pool import ProcessPool

    async with ProcessPool.open(
        processes=settings.cpu_processes, memory_limit_bytes=settings.cpu_memory_limit_bytes
    ) as pool:
        yield pool


@asynccontextmanager
async def outbound(settings: Settings) -> AsyncIterator[Outbound]:
    """HTTP to addresses that callers name, behind the address guard."""
    with needs("webhooks"):
        from errand.resources.guard import AddressGuard, UrlPolicy
        from errand.resources.outbound import Outbound

    guard = AddressGuard(settings.webhook_allow_networks, policy=UrlPolicy.of(settings))
    async with Outbound.open(guard, connections=settings.worker_concurrency) as client:
        yield client
