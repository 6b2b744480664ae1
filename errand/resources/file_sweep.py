"""Deletes files whose time is over: uploads, outputs of jobs that are forgotten, and what killed processes have left.

It looks through the whole storage, once a day, in one worker process for all, and never while a request waits for it.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from redis.exceptions import RedisError

from errand.redis.cluster.partitions import Partitions
from errand.resources.job_files import OUTPUTS, JobFiles
from errand.resources.storage import Storage
from errand.wire import keys

log = structlog.get_logger("errand.files")


SWEEP_EVERY_S = 86_400.0


LOOK_EVERY_S = 3600.0
"""So often a process looks whether it is time; with jitter, so that not all ask at once."""


FIRST_LOOK_S = 60.0
"""A process that has just started has better things to do."""


LEFT_BEHIND_S = 86_400.0
"""What a process writes beside the storage, or before a file is whole, is nobody's any more after so long."""


UPLOADS = "uploads"


UPLOAD = re.compile(rf"{UPLOADS}/[^/]+")


OUTPUT = re.compile(rf"{OUTPUTS}/([^/]+)/.+")


MAX_FAULTS = 20
"""Files that cannot be deleted: of one sweep so many are passed over, then the storage itself is at fault."""


WORKING_FOLDERS = "errand-images-*"
"""What image jobs work in, below the machine's folder for temporary files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTtl:
    """How long files are kept, in seconds since they were written; longer if their jobs are still known."""

    upload_s: float
    output_s: float


class FileSweep:
    """The sweep of one storage, for jobs of one installation."""

    def __init__(self, partitions: Partitions, storage: Storage, *, ttl: FileTtl) -> None:
        self._redis = partitions.first
        self._storage = storage
        self._files = JobFiles(partitions, storage)
        self._ttl = ttl
        self._faults = 0
        """Of the sweep under way."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweeps now and then, in the background, for as long as the block lasts."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        wait_s = FIRST_LOOK_S
        while True:
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
            wait_s = LOOK_EVERY_S
            try:
                await asyncio.to_thread(delete_working_folders, than_s=time.time() - LEFT_BEHIND_S)
                await self.look()
            except Exception as error:  # noqa: BLE001  # Redis or the storage is away: the next look tries again
                log.warning("files could not be looked through", error=str(error))

    async def look(self) -> None:
        """Sweeps if it is the turn of this process. What is cut short is taken up at the next look, by any of them."""
        if await self.is_its_turn():
            try:
                await self.sweep()
            except BaseException:
                with suppress(RedisError):
                    await self._redis.delete(keys.FILES_SWEPT)
                raise

    async def is_its_turn(self) -> bool:
        """True once a day, for one process of all. Raises redis' errors."""
        return bool(await self._redis.set(keys.FILES_SWEPT, 1, nx=True, px=int(SWEEP_EVERY_S * 1000)))

    async def sweep(self) -> int:
        """Looks at all files; returns how many were deleted. Raises redis' errors, and those of the storage."""
        now_s, deleted = time.time(), 0
        self._faults = 0
        async for old in self._storage.older(f"{UPLOADS}/", than_s=now_s - self._ttl.upload_s):
            # parts of an upload that is coming in have a time of their own
            for key in await self._files.unused(filter(UPLOAD.fullmatch, old)):
                deleted += await self._delete(key, self._files.delete_upload)
        async for old in self._storage.older(f"{OUTPUTS}/", than_s=now_s - self._ttl.output_s):
            jobs = {key: found[1] for key in old if (found := OUTPUT.fullmatch(key))}
            known = await self._files.known(set(jobs.values()))
            for key in (key for key, job_id in jobs.items() if job_id not in known):
                deleted += await self._delete(key, self._storage.delete)
        await self._storage.delete_unfinished(than_s=now_s - LEFT_BEHIND_S)
        if deleted:
            log.info("files were deleted whose time was over", files=deleted)
        return deleted

    async def _delete(self, key: str, delete: Callable[[str], Awaitable[None]]) -> bool:
        """False, said so in the log, if the storage keeps that one: it must not keep all behind it, day after day."""
        try:
            await delete(key)
        except RedisError:
            raise
        except Exception as error:
            self._faults += 1
            if self._faults > MAX_FAULTS:
                raise
            log.warning("a file whose time was over cannot be deleted", key=key, error=str(error))
            return False
        return True


def delete_working_folders(*, than_s: float) -> None:
    """Deletes what jobs worked in whose process was killed: this user's, not touched since that moment."""
    for folder in Path(tempfile.gettempdir()).glob(WORKING_FOLDERS):
        try:
            found = folder.lstat()
        except OSError:
            continue
        if found.st_uid == os.getuid() and found.st_mtime < than_s and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
