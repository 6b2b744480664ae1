"""Looks at Redis and draws, until Ctrl-C or a key ends it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from redis.exceptions import RedisError
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from errand.cli.top.drawing import Screen, draw, draw_help, draw_job, plain
from errand.cli.top.keyboard import keyboard
from errand.cli.top.view import View
from errand.client.connection import redis_of
from errand.job.catalog import discover
from errand.monitor.job_snapshot import find_job
from errand.monitor.queues import read_queues, read_workers
from errand.monitor.timeline import JobFilter, Timeline
from errand.process.start import exit_if_unusable
from errand.redis.cluster import partitions
from errand.redis.cluster.partitions import Partitions
from errand.redis.outage import REPLY_TIMEOUT_S
from errand.settings import Settings
from errand.wire import keys

ROWS = 20
"""Of jobs, below queues and workers."""

LINES_ABOVE = 3
"""What stands above a list of jobs alone."""


def show(settings: Settings, *, job_id: str | None, every_s: float, once: bool, console: Console | None = None) -> int:
    """Draws until Ctrl-C or `q`, or once; returns the exit code, 1 if there is no such job."""
    with exit_if_unusable():
        names = list(discover(settings.packages).queues)
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_show(settings, names, job_id, every_s, once=once, console=console or Console()))
    return 0


async def _show(
    settings: Settings, names: Sequence[str], job_id: str | None, every_s: float, *, once: bool, console: Console
) -> int:
    async with _connected(settings) as found:
        top = _Top(found, settings, names, console)
        view = View() if job_id is None else View("job", job_id=job_id)
        try:
            drawn, job_ids = await top.look(view)
        except (RedisError, OSError) as error:
            raise SystemExit(f"errand top: Redis cannot be reached: {error}") from None
        if once or (job_id is not None and not job_ids):
            console.print(drawn)
            return int(job_id is not None and not job_ids)
        with Live(drawn, console=console, screen=True, auto_refresh=False) as live, keyboard() as keys_:
            shown: View | None = view
            while shown is not None:
                drawn, job_ids = await top.look_if_redis_answers(shown)
                live.update(drawn, refresh=True)
                key = await keys_.next(every_s)
                shown = shown if key is None else shown.after(key, job_ids)
    return 0


class _Top:
    """What a view is drawn from."""

    def __init__(self, found: Partitions, settings: Settings, names: Sequence[str], console: Console) -> None:
        self._partitions = found
        self._names = names
        self._queues = [keys.queue(name) for name in names]
        self._silent_s = settings.lease_s
        self._console = console

    async def look_if_redis_answers(self, view: View) -> tuple[RenderableType, Sequence[str]]:
        """The same while Redis is away: then a line that says so."""
        try:
            return await self.look(view)
        except (RedisError, OSError) as error:
            return plain(f"Redis cannot be reached, and is asked again: {error}"), ()

    async def look(self, view: View) -> tuple[RenderableType, Sequence[str]]:
        """The picture of that view, and the ids of the jobs in it."""
        match view.page:
            case "help":
                return draw_help(), ()
            case "job":
                return await self._job(view.job_id or "")
            case _:
                return await self._list(view)

    async def _job(self, job_id: str) -> tuple[RenderableType, Sequence[str]]:
        job = await find_job(self._partitions, job_id, queues=self._queues)
        if job is None:
            return Text.assemble("There is no job '", plain(job_id), "'. It never was, or it has been forgotten."), ()
        return draw_job(job), (job_id,)

    async def _list(self, view: View) -> tuple[RenderableType, Sequence[str]]:
        alone = view.page == "jobs"
        rows = max(self._console.height - LINES_ABOVE, 1) if alone else ROWS
        filter = JobFilter(statuses=frozenset([view.status] if view.status else ()))
        look = Screen(
            [] if alone else await read_queues(self._partitions.clients, self._names, silent_s=self._silent_s),
            [] if alone else await read_workers(self._partitions.clients, self._names, silent_s=self._silent_s),
            (await Timeline(*self._partitions.clients, queues=self._queues).page(filter, limit=rows)).jobs,
        )
        return draw(look, view), [job.id for job in look.jobs]


@contextlib.asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Partitions]:
    async with (
        redis_of(settings) as url,
        partitions.opened(url, number=settings.queue_partitions, reply_timeout_s=REPLY_TIMEOUT_S) as found,
    ):
        yield found
