"""Writes files into the folder of a storage: whole or not at all, and never on the event loop but for a link."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")

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


async def take(source: Path, path: Path) -> int:
    """Stores a local file at that path, in place of what was there; returns its size in bytes. Raises OSError.

    If that can be it is the same file under a second name, so nobody may write to the first any more.
    """
    name = _unfinished(path)
    try:
        if not is_linked(source, name):
            await asyncio.to_thread(_copy, source, name)
        size_bytes = name.stat().st_size
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    return size_bytes


def is_linked(source: Path, path: Path) -> bool:
    """Gives a local file that second name; False if they lie on two file systems, or on one without links.

    It is called on the event loop: a link is one call, and none that waits for another machine's disk, since a folder
    for temporary files is on one of this machine. A thread costs ten times as much. Raises FileNotFoundError.
    """
    try:
        _in_its_folder(path, partial(os.link, source, path))
    except FileNotFoundError:
        raise
    except OSError:
        return False
    return True


class FolderFault(Exception):
    """A file could not be written: the disk is full, read-only or away."""


class _Part:
    """A file that is being written; its methods are called by threads, one of them at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = _unfinished(path)
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
            # piece by piece: all by one `writev` saves a tenth, but has the kernel take memory in large blocks, and
            # where it had not used that before, on a new virtual machine, the whole took twice the time
            self._file.writelines(pieces)
        except OSError as error:
            raise FolderFault(str(error)) from error
        return self._file


def opened(path: Path) -> BinaryIO:
    """A new file there, and the folders above it. Raises OSError."""
    return _in_its_folder(path, lambda: path.open("xb"))


def _in_its_folder(path: Path, make: Callable[[], T]) -> T:
    for _ in range(OPEN_TRIES):
        with suppress(FileNotFoundError):
            return make()
        # the folder above may go as well; or this one, after mkdir has found it and before it looks what it is
        with suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
    return make()


def below(folder: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    """All files in the folder and in those below it, links too; what goes away meanwhile is left out.

    They are read from the disk as they are taken. `Path.rglob` first lists a whole folder: with a million files that
    took 320 MiB, and held up the loop for ten seconds.
    """
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(folder) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from below(entry)
            else:
                yield entry


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}#{secrets.randbelow(10**12)}")


def _copy(source: Path, path: Path) -> None:
    with source.open("rb") as original, opened(path) as file:
        shutil.copyfileobj(original, file, WRITTEN_AT_ONCE_BYTES)
