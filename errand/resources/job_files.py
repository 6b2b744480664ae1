"""The files of jobs: which upload belongs to which jobs, and that both are forgotten together."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from errand.job.job_type import JobType
from errand.job.stored_file import UPLOAD_KEY
from errand.redis.cluster.partitions import Partitions
from errand.resources.openers import storage
from errand.resources.storage import Storage
from errand.wire import keys

log = structlog.get_logger("errand.files")


OUTPUTS = "resize"
"""The folder of what image jobs make; in it each job has one that is called as its id."""


FORGET_LIMIT_S = 10.0
"""A client that forgets a job waits no longer for a storage that is away."""


def may_have_files(job_type: JobType[Any, Any]) -> bool:
    """True if jobs of that type come with uploads, or may store files."""
    return job_type.file_field is not None or storage in job_type.uses


class JobFiles:
    """The files in a storage that jobs of an installation came with, or have made."""

    def __init__(self, partitions: Partitions, storage: Storage) -> None:
        self._partitions = partitions
        self._redis = partitions.first
        self._storage = storage

    async def note(self, job_id: str, args: Any) -> None:
        """The job was put with the uploads that its args name: they stay as long as it is known.

        The job is put by now, so an error is only logged: such an upload stays for its own time only.
        """
        uploads = set(uploads_in(args))
        if not uploads:
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for upload in uploads:
                    pipeline.sadd(keys.upload_jobs(upload), job_id)
                await pipeline.execute()
        except RedisError as error:
            log.warning("it is not known which job an upload came with", job_id=job_id, error=str(error))

    async def forget(self, job_id: str, args: Any) -> None:
        """Deletes what the job has made, and its uploads if no other job that is known was put with them.

        The job is forgotten by now, so an error is only logged: the next sweep finds what is left.
        """
        try:
            async with asyncio.timeout(FORGET_LIMIT_S):
                for upload in await self.unused(uploads_in(args), but_by=job_id):
                    await self.delete_upload(upload)
                await self._storage.delete_below(f"{OUTPUTS}/{job_id}")
        except Exception as error:  # noqa: BLE001  # whatever the storage says
            log.warning("files of a forgotten job are left for the next sweep", job_id=job_id, error=str(error))

    async def delete_upload(self, key: str) -> None:
        await self._storage.delete(key)
        await self._redis.delete(keys.upload_jobs(key))

    async def unused(self, uploads: Iterable[str], *, but_by: str = "") -> list[str]:
        """Those of the uploads that no known job was put with, or none but that one. Raises redis' errors."""
        asked = list(dict.fromkeys(uploads))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for upload in asked:
                pipeline.smembers(keys.upload_jobs(upload))
            put_with: list[set[bytes]] = await pipeline.execute()
        jobs = [{job.decode(errors="replace") for job in of} - {but_by} for of in put_with]
        known = await self.known({job for of in jobs for job in of})
        return [upload for upload, of in zip(asked, jobs, strict=True) if not of & known]

    async def known(self, job_ids: Collection[str]) -> set[str]:
        """Those that have not ended, or whose result is kept. Raises redis' errors."""
        if not job_ids:
            return set()
        return set().union(*[await _known_in(redis, job_ids) for redis in self._partitions.clients])


async def _known_in(redis: Redis, job_ids: Collection[str]) -> set[str]:
    async with redis.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            pipeline.exists(keys.body(job_id), keys.result(job_id))
        found = await pipeline.execute()
    return {job_id for job_id, exists in zip(job_ids, found, strict=True) if exists}


def uploads_in(args: Any) -> list[str]:
    """The keys of all uploads that these args name, wherever they do."""
    if isinstance(args, Mapping):
        key = args.get("key")
        own = [key] if isinstance(key, str) and UPLOAD_KEY.fullmatch(key) else []
        return own + [upload for value in args.values() for upload in uploads_in(value)]
    if isinstance(args, list | tuple):
        return [upload for value in args for upload in uploads_in(value)]
    return []
