"""Acts on many jobs, one after another at a pace: those that were chosen, or all that match a filter."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from redis.exceptions import RedisError

from errand.dashboard.bulk import kept
from errand.dashboard.bulk.kept import Action, BulkRun
from errand.http.answers.problems import Problem
from errand.http.requests.etags import Seen
from errand.http.routes import jobs
from errand.http.routes.job_list import cursor_at, start_at
from errand.http.shared import Shared, in_time
from errand.job.when import When
from errand.monitor.timeline import JobFilter, PageStart

log = structlog.get_logger("errand.audit")
"""Has each job: the audit itself has the run, whose page says how many."""

PAGE = 200

MAX_COUNTED = 10_000
"""A look ahead counts no further; a run goes on to the end."""

SAVED_EVERY_S = 0.5

PUT_AGAIN: frozenset[Action] = frozenset(("retry", "reschedule"))
"""A job may be fit for these again after it was done. One that is cancelled or deleted is not."""

ANY = Seen(None)


async def counted(to: Shared, filter: JobFilter) -> tuple[int, bool]:
    """How many jobs match, and whether there are more than are counted."""
    count, start = 0, None
    while count < MAX_COUNTED:
        page = await in_time(to.timeline.page(filter, limit=PAGE, start=start))
        count, start = count + len(page.jobs), page.next
        if start is None:
            return count, False
    return count, True


async def begin(to: Shared, run: BulkRun) -> None:
    """Makes a run known, so that its page can be shown. Jobs that begin to match later are left out."""
    if run.filter is not None:
        await _turn_page(to, run, run.filter, None)
    await kept.write(to, run)


async def act(to: Shared, run: BulkRun) -> None:
    """Acts on what is left, no faster than its pace, until all is done or somebody stops it."""
    began_s, before = time.monotonic(), run.done + run.skipped
    one, saving = _action(run.action, run.when), _Saving(to, run)
    try:
        while await _has_more(to, run):
            await _act_on_next(to, run, one)
            if not await saving.goes_on(until_s=began_s + (run.done + run.skipped - before) / run.per_second):
                run.ended = "stopped"
                return
        run.ended = "finished"
    except (RedisError, OSError) as error:
        run.ended, run.last_refusal = "failed", f"Redis went away: {error}"
    finally:
        with contextlib.suppress(RedisError, OSError):
            await kept.save(to, run)


async def _has_more(to: Shared, run: BulkRun) -> bool:
    if not run.left and run.filter is not None and run.cursor is not None:
        await _turn_page(to, run, run.filter, start_at(run.cursor, run.filter, field="cursor"))
    return bool(run.left)


async def _act_on_next(to: Shared, run: BulkRun, one: Callable[[Shared, str], Awaitable[object]]) -> None:
    """It is left until it is done: a run that is interrupted repeats a job rather than leave it out."""
    try:
        if run.resumed and run.action in PUT_AGAIN:
            await _check_not_done(to, run)
        await one(to, run.left[0])
        log.info("changed", who=run.by, action=f"{run.action}_job", job_id=run.left[0], run=run.id)
        run.done += 1
    except Problem as refusal:
        run.skipped += 1
        run.last_refusal = refusal.detail
    del run.left[0]


async def _check_not_done(to: Shared, run: BulkRun) -> None:
    """Raises Problem 409 for a job that has run since the run began: the run has put it again, and it has failed again.

    By the clocks of worker and API. If they differ, a job may be skipped that could have been put again: it stays dead.
    """
    job = await to.find(run.left[0])
    if job is not None and max(job.started_at_ms or 0, job.finished_at_ms or 0) > run.started_s * 1000:
        raise Problem(409, "wrong-state", f"Job {job.id} has run since this run began; it is not put again twice.")


async def _turn_page(to: Shared, run: BulkRun, filter: JobFilter, start: PageStart | None) -> None:
    """To the next page with anything on it, the newest jobs first."""
    while True:
        page = await in_time(to.timeline.page(filter, limit=PAGE, start=start))
        run.left = [job.id for job in page.jobs]
        run.cursor = None if page.next is None else cursor_at(page.next, filter)
        if run.left or page.next is None:
            return
        start = page.next


class _Saving:
    """Saves how far a run is, now and then."""

    def __init__(self, to: Shared, run: BulkRun) -> None:
        self._to, self._run = to, run
        self._saved_s = time.monotonic()
        """Not as others know it: that clock may be set back, and the run would save no more, and hear of no stop."""

    async def goes_on(self, *, until_s: float) -> bool:
        """Waits until then, on the monotonic clock; False if the run is to stop."""
        while True:
            if time.monotonic() - self._saved_s > SAVED_EVERY_S:
                self._saved_s = time.monotonic()
                if not await kept.save(self._to, self._run):
                    return False
            ahead_s = until_s - time.monotonic()
            if ahead_s <= 0:
                return True
            await asyncio.sleep(min(ahead_s, SAVED_EVERY_S))


def _action(action: Action, when: When) -> Callable[[Shared, str], Awaitable[object]]:
    known: Mapping[Action, Callable[[Shared, str], Awaitable[object]]] = {
        "retry": lambda to, job_id: jobs.retry_job(job_id, to, ANY),
        "cancel": lambda to, job_id: jobs.cancel_job(job_id, to, ANY),
        "delete": lambda to, job_id: jobs.forget_job(job_id, to, ANY),
        "reschedule": lambda to, job_id: jobs.reschedule_job(job_id, to, when, ANY),
    }
    return known[action]
