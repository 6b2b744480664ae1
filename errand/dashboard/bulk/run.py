"""Acts on many jobs, one after another at a pace: those that were chosen, or all that match a filter.

A run lives in the API process that started it; its progress is in Redis, where every process can show it, and where a
run looks whether it is to stop. If its process ends, the run does too: what it has done is done, and it can be started
again, as what was acted on does not match any more, or is skipped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter, ValidationError
from redis.exceptions import RedisError

from errand.http.answers.problems import Problem
from errand.http.requests.etags import Seen
from errand.http.routes import jobs
from errand.http.shared import Shared, in_time
from errand.job.when import AT_ONCE, When
from errand.monitor.timeline import JobFilter, PageStart
from errand.wire import keys
from errand.wire.job_id import new_job_id

Action = Literal["retry", "cancel", "delete", "reschedule"]

PAGE = 200

MAX_COUNTED = 10_000
"""A look ahead counts no further; a run goes on to the end."""

KEPT_S = 86_400

SAVED_EVERY_S = 0.5

SILENT_S = 15.0
"""A run that has saved nothing for so long has ended with its process."""

ANY = Seen(None)


@dataclass(slots=True, kw_only=True)
class BulkRun:
    """How far a run has come. Times are in seconds since the epoch."""

    id: str = field(default_factory=new_job_id)
    action: Action
    by: str
    started_s: float = field(default_factory=time.time)
    saved_s: float = 0.0
    done: int = 0
    skipped: int = 0
    last_refusal: str = ""
    """Why the last of those that were skipped was."""
    ended: Literal["", "finished", "stopped", "failed"] = ""

    @property
    def runs(self) -> bool:
        return not self.ended and time.time() - self.saved_s < SILENT_S


_RUN = TypeAdapter(BulkRun)


async def matching(to: Shared, filter: JobFilter) -> AsyncIterator[str]:
    """The ids of all jobs that match, the newest first; those that begin to match later are left out."""
    start: PageStart | None = None
    while True:
        page = await in_time(to.timeline.page(filter, limit=PAGE, start=start))
        for job in page.jobs:
            yield job.id
        if page.next is None:
            return
        start = page.next


async def chosen(ids: Sequence[str]) -> AsyncIterator[str]:
    """These ids, as `matching` gives them."""
    for job_id in ids:
        yield job_id


async def counted(ids: AsyncIterator[str]) -> tuple[int, bool]:
    """How many there are, and whether there are more than are counted."""
    count = 0
    async for _ in ids:
        count += 1
        if count >= MAX_COUNTED:
            return count, True
    return count, False


async def read_run(to: Shared, run_id: str) -> BulkRun | None:
    """The run of that id; None if there is none any more."""
    record = await in_time(_get(to, keys.bulk_run(run_id)))
    try:
        return _RUN.validate_json(record) if record else None
    except ValidationError:
        return None


async def stop(to: Shared, run_id: str) -> None:
    """Has a run stop before its next job."""
    await in_time(_set(to, keys.bulk_stop(run_id), b"1"))


async def begin(to: Shared, run: BulkRun) -> None:
    """Makes a run known, so that its page can be shown."""
    await _save(to, run)


async def act(to: Shared, run: BulkRun, ids: AsyncIterator[str], *, per_second: float, when: When = AT_ONCE) -> None:
    """Acts on each, no faster than that, until all are done or somebody stops it."""
    one, began_s = _action(run.action, when), time.monotonic()
    try:
        async for job_id in ids:
            try:
                await one(to, job_id)
                run.done += 1
            except Problem as refusal:
                run.skipped += 1
                run.last_refusal = refusal.detail
            if not await _goes_on(to, run, until_s=began_s + (run.done + run.skipped) / per_second):
                run.ended = "stopped"
                return
        run.ended = "finished"
    except RedisError as error:
        run.ended, run.last_refusal = "failed", f"Redis went away: {error}"
    finally:
        await _save(to, run)


async def _goes_on(to: Shared, run: BulkRun, *, until_s: float) -> bool:
    """Waits until then, on the monotonic clock, and saves how far the run is; False if it is to stop."""
    while True:
        if time.time() - run.saved_s > SAVED_EVERY_S and not await _save(to, run):
            return False
        ahead_s = until_s - time.monotonic()
        if ahead_s <= 0:
            return True
        await asyncio.sleep(min(ahead_s, SAVED_EVERY_S))


async def _save(to: Shared, run: BulkRun) -> bool:
    """False if somebody has asked it to stop."""
    run.saved_s = time.time()
    await in_time(_set(to, keys.bulk_run(run.id), _RUN.dump_json(run)))
    return await in_time(_get(to, keys.bulk_stop(run.id))) is None


async def _get(to: Shared, name: str) -> bytes | None:
    found: bytes | None = await to.redis.get(name)
    return found


async def _set(to: Shared, name: str, value: bytes) -> None:
    await to.redis.set(name, value, ex=KEPT_S)


def _action(action: Action, when: When) -> Callable[[Shared, str], Awaitable[object]]:
    known: Mapping[Action, Callable[[Shared, str], Awaitable[object]]] = {
        "retry": lambda to, job_id: jobs.retry_job(job_id, to, ANY),
        "cancel": lambda to, job_id: jobs.cancel_job(job_id, to, ANY),
        "delete": lambda to, job_id: jobs.forget_job(job_id, to, ANY),
        "reschedule": lambda to, job_id: jobs.reschedule_job(job_id, to, when, ANY),
    }
    return known[action]
