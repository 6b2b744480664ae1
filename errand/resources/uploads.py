"""Uploads: stored for a job, and forgotten if no job was put."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterable, Iterable

from errand.job.stored_file import StoredFile
from errand.resources.storage import Storage


async def keep(storage: Storage | None, chunks: AsyncIterable[bytes], *, filename: str | None) -> StoredFile:
    """Stores an upload under a new key, whole or not at all. Without a storage the upload is read and dropped."""
    key = f"uploads/{uuid.uuid4()}"
    size_bytes = await storage.write(key, chunks) if storage else sum([len(chunk) async for chunk in chunks])
    return StoredFile(key=key, bytes=size_bytes, filename=filename and filename[:255])


async def forget(storage: Storage, files: Iterable[StoredFile]) -> None:
    """Deletes uploads that no job refers to. Errors are ignored: the caller has an earlier one to raise."""
    for file in files:
        with contextlib.suppress(Exception):
            await storage.delete(file.key)
