"""Files whose jobs may have been put or not, because the answer of Redis was lost: kept until that is known.

A file that is deleted with its job in the queue would fail that job, which a client that sends its request again is
then promised. One that is kept for a job that nobody put would lie there until the daily sweep finds it too old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from errand.job.stored_file import StoredFile
from errand.resources.job_files import JobFiles

log = structlog.get_logger("errand.files")


SETTLED_AFTER_S = 2.0
"""By then Redis refuses a call that lay in a socket (`queue.enqueue_script`). So often it is asked again, too."""


MAX_LEFT = 200
"""Requests whose files are waited with, as their args take memory while Redis hangs, perhaps for hours."""


class DoubtfulUploads:
    """Those of one process. If it ends before Redis is back, or has more, the daily sweep deletes those of no job."""

    def __init__(self, files: JobFiles) -> None:
        self._files = files
        self._left: list[tuple[Sequence[StoredFile], Mapping[str, Any]]] = []
        self._settling: asyncio.Task[None] | None = None

    def add(self, uploads: Sequence[StoredFile], jobs: Mapping[str, Any]) -> None:
        """These uploads came for these jobs, given by their ids and args."""
        if len(self._left) < MAX_LEFT:
            self._left.append((uploads, jobs))
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle_all())

    async def aclose(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)

    async def _settle_all(self) -> None:
        while self._left:
            some, self._left = self._left, []
            await asyncio.sleep(SETTLED_AFTER_S)
            for uploads, jobs in some:
                try:
                    await self._settle(uploads, jobs)
                except Exception as error:  # noqa: BLE001  # Redis or the storage is away: asked again
                    log.debug("it is not known yet whether an upload has a job", error=str(error))
                    self._left.append((uploads, jobs))

    async def _settle(self, uploads: Sequence[StoredFile], jobs: Mapping[str, Any]) -> None:
        known = await self._files.known(jobs.keys())
        for job_id in known:
            await self._files.note(job_id, jobs[job_id])
        if not known:
            for upload in uploads:
                await self._files.delete_upload(upload.key)
