"""Whether uploads can be stored now: asked before a client sends one, and seldom, since an object store takes money."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog

from errand.resources.storage import Storage, StorageFault

log = structlog.get_logger("errand.storage")


CHECK_EVERY_S = 10.0


LIMIT_S = 1.5
"""For one check: `/readyz` answers within 2 s."""


class StorageCheck:
    """Writes a few bytes to the storage at `url` and deletes them; looks at the room on the disk if it is a folder."""

    def __init__(self, storage: Storage, url: str, *, needs_bytes: int) -> None:
        """`needs_bytes`: how many bytes the largest upload takes."""
        parts = urlsplit(url)
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None
        self._storage = storage
        self._needs_bytes = needs_bytes
        self._checked_s = -CHECK_EVERY_S
        self._fault: str | None = None

    async def fault(self) -> str | None:
        """Why nothing can be stored; None if it can. The answer is at most ten seconds old."""
        if time.monotonic() - self._checked_s >= CHECK_EVERY_S:
            # before it is known: requests that come meanwhile do not all write
            self._checked_s = time.monotonic()
            before, self._fault = self._fault, await self._look()
            if self._fault and not before:
                log.error("uploads cannot be stored: see STORAGE_URL", error=self._fault)
        return self._fault

    async def _look(self) -> str | None:
        key = f"check-{uuid.uuid4()}"
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._storage.write(key, _a_few_bytes())
                await self._storage.delete(key)
            return self._lack_of_room()
        except (StorageFault, TimeoutError, OSError) as error:
            return str(error) or "it does not answer"

    def _lack_of_room(self) -> str | None:
        if self._folder is None:
            return None
        free_bytes = shutil.disk_usage(self._folder).free
        if free_bytes >= self._needs_bytes:
            return None
        return f"{free_bytes} bytes are free, and an upload may have {self._needs_bytes}"


async def _a_few_bytes() -> AsyncIterator[bytes]:
    yield b"written to see whether it can be"
