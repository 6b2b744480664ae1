"""Split off."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterable, Iterable

from errand.job.stored_file import StoredFile
from errand.resources.storage import Storage


async def keep(storage: Storage | None, chunks: AsyncIterable[bytes], *, filename: str | None) -> StoredFile:
    """Stores an upload under a key of its own, whole or not at all; without a storage it is read, and gone."""
    key = f"uploads/{uuid.uuid4()}"
    size_bytes = await storage.write(key, chunks) if storage else sum([len(chunk) async for chunk in chunks])
    return StoredFile(key=key, bytes=size_bytes, filename=filename and filename[:255])


async def forget(storage: Storage, files: Iterable[StoredFile]) -> None:
    """Deletes uploads that no job refers to; what fails is passed over, an earlier error is the one to raise."""
    for file in files:
        with contextlib.suppress(Exception):
            await storage.delete(file.key)
