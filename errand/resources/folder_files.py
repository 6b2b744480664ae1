"""Writes files into the folder of a storage: whole or not at all, and never on the event loop."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

WRITTEN_AT_ONCE_BYTES = 2 * 1024 * 1024
"""To go to a thread and back costs as much as to write a fifth of a mebibyte."""

OPEN_TRIES = 20
"""Who deletes the last file of a folder deletes the folder, perhaps right before another file is made there."""

UNFINISHED = re.compile(r"#\d+$")
"""How the name ends that a file has until it is whole; obstore's do, too."""


async def write(path: Path, chunks: AsyncIterable[bytes]) -> int:
    """Stores what `chunks` yields at that path, in place of what was there; returns its size in bytes.

    Raises FolderFault, and what `chunks` raises; then nothing is changed.
    """
    part, size_bytes = _Part(path), 0
    held: list[bytes] = []
    held_bytes = 0
    try:
        async for chunk in chunks:
            held.append(chunk)
            held_bytes += len(chunk)
            if held_bytes >= WRITTEN_AT_ONCE_BYTES:
                await asyncio.to_thread(part.add, held)
                size_bytes += held_bytes
                held, held_bytes = [], 0
        await asyncio.to_thread(part.keep, held)
    except BaseException:
        # to its end, also if this is cancelled again
        await asyncio.shield(asyncio.to_thread(part.drop))
        raise
    return size_bytes + held_bytes


async def copy(source: Path, path: Path) -> int:
    """Stores a copy of a local file at that path; returns its size in bytes. Raises OSError."""
    return await asyncio.to_thread(_copy, source, path)


class FolderFault(Exception):
    """A file could not be written: the disk is full, read-only or away."""


class _Part:
    """A file that is being written; its methods are called by threads, one of them at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = path.with_name(f"{path.name}#{secrets.randbelow(10**12)}")
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        self._is_over = False
        """True once it is kept or dropped: a thread that was given up may still come."""

    def add(self, pieces: Iterable[bytes]) -> None:
        """Raises FolderFault."""
        with self._lock:
            self._write(pieces)

    def keep(self, pieces: Iterable[bytes]) -> None:
        """Adds these, and gives the file its own name. Raises FolderFault."""
        with self._lock:
            file = self._write(pieces)
            try:
                if file is not None:
                    file.close()
                    self._name.replace(self._path)
            except OSError as error:
                raise FolderFault(str(error)) from error
            self._is_over = True

    def drop(self) -> None:
        """Deletes what was written, if it was not kept."""
        with self._lock, suppress(OSError):
            self._is_over = True
            if self._file is not None:
                self._name.unlink(missing_ok=True)
                self._file.close()

    def _write(self, pieces: Iterable[bytes]) -> BinaryIO | None:
        if self._is_over:
            return None
        try:
            self._file = self._file or opened(self._name)
            self._file.writelines(pieces)
        except OSError as error:
            raise FolderFault(str(error)) from error
        return self._file


def opened(path: Path) -> BinaryIO:
    """A new file there, and the folders above it. Raises OSError."""
    for _ in range(OPEN_TRIES):
        with suppress(FileNotFoundError):
            return path.open("xb")
        # the folder above may go as well; or this one, after mkdir has found it and before it looks what it is
        with suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


def _copy(source: Path, path: Path) -> int:
    name = path.with_name(f"{path.name}#{secrets.randbelow(10**12)}")
    try:
        with source.open("rb") as original, opened(name) as file:
            shutil.copyfileobj(original, file, WRITTEN_AT_ONCE_BYTES)
        size_bytes = name.stat().st_size
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    return size_bytes
