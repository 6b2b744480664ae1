"""Finds jobs by what somebody remembers of them: an id, a unique key, or a text that stands in their args.

Args are searched as they are shown, with stars instead of secrets: who may not see a secret cannot guess at it either.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from errand.http.answers.job_view import shown_args
from errand.http.routes.job_list import JobPage, ListedJobView, job_page
from errand.http.shared import Shared, in_time
from errand.monitor.job_snapshot import JobSnapshot
from errand.monitor.timeline import MAX_LOOKED_AT, JobFilter
from errand.redis.cluster.each import values_anywhere
from errand.wire import keys

MAX_SEARCHED = 10_000
"""Jobs of the filter, the newest first; the next page goes on from there."""

MAX_ID_CHARS = 128


async def named(to: Shared, text: str) -> str | None:
    """The id of the job that has this id, or that holds this unique key; None if there is none."""
    if len(text) > MAX_ID_CHARS:
        return None
    if await to.find(text) is not None:
        return text
    names = [keys.unique(keys.queue(known.queue), known.name, text) for known in to.catalog.values()]
    holders = await in_time(values_anywhere(to.clients, names))
    # the job of a marker may be gone: it is held for a while after its end
    ids = [holder.decode(errors="replace").partition(" ")[2] for holder in holders if holder]
    return ids[0] if ids else None


async def containing(to: Shared, text: str, filter: JobFilter, *, limit: int, cursor: str | None) -> JobPage:
    """Jobs of the filter in whose args the text stands, as far as they are found among so many of them."""
    sought = text.casefold()
    found: list[ListedJobView] = []
    page = JobPage(jobs=[], next=None, cursor=cursor)
    for _ in range(MAX_SEARCHED // MAX_LOOKED_AT):
        missing = limit - len(found)
        page = await job_page(
            to, filter, limit=missing, cursor=page.cursor, matches=lambda job: sought in _searched(to, job)
        )
        found += page.jobs
        if page.cursor is None or len(found) >= limit:
            break
        await asyncio.sleep(0)
    return page.model_copy(update={"jobs": found})


def _searched(to: Shared, job: JobSnapshot) -> str:
    shown: Mapping[str, object] = shown_args(to.catalog.get(job.type), job.args)
    return json.dumps(shown, ensure_ascii=False, default=str).casefold()
