"""Files by key: a local folder or an object store, the same to every user."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from os import DirEntry
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError, PreconditionError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store, from_url

from errand import private_folder
from errand.resources import folder_files

if TYPE_CHECKING:
    from obstore import ObjectMeta

T = TypeVar("T")


SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}"
"""What an id of a job may be: outputs have a folder that is called so."""


KEY = re.compile(rf"(?=.{{1,256}}\Z){SEGMENT}(?:/{SEGMENT})*")


BELOW_A_FILE = "(os error 20)"
"""The error of a folder if a part of the key's path is a file (ENOTDIR); obstore has no type of its own for it."""


CHUNK_BYTES = 1024 * 1024


PART_BYTES = 5 * 1024 * 1024
"""The smallest part that S3 takes; at most two parts of an upload are in memory."""


MAX_SIGNED_S = 7 * 86_400 - 1
"""S3 signs URLs for less than a week (AWS Signature Version 4)."""


LASTING = "private, max-age=31536000, immutable"
"""Of what is never replaced by other content."""


INFO_LIMIT_S = 10.0
"""obstore itself tries a bucket that does not answer for three minutes."""


LISTED_AT_ONCE = 1000
"""Between so many files others have their turn, and only so many are in memory: a storage may have millions."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A stored file: its size in bytes and the entity tag that names this content, when it was written."""

    size_bytes: int
    etag: str
    modified_at: datetime


class FileMissing(LookupError):
    """Nothing is stored under that key."""


class StorageFault(Exception):
    """The storage cannot take or give a file now: it is full, read-only or away."""


class Storage:
    """Files by key, in a folder or a bucket: `Storage.at("file:///var/errand")`. Each method may raise StorageFault."""

    def __init__(self, store: ObjectStore, *, folder: Path | None = None) -> None:
        """`folder`: where the store keeps its files, if it is one of this machine."""
        self._store = store
        self._folder = folder
        self._bucket = store if isinstance(store, S3Store | GCSStore | AzureStore) else None

    @classmethod
    def at(cls, url: str) -> Storage:
        """The storage behind `file:///…`, `s3://…`, `gs://…` or `az://…`; the cloud's credentials come from its own
        environment variables."""
        parts = urlsplit(url)
        if parts.scheme == "file":
            folder = Path(unquote(parts.path))
            private_folder.make(folder)
            return cls(LocalStore(folder, automatic_cleanup=True), folder=folder)
        return cls(from_url(url))

    async def write(self, key: str, chunks: AsyncIterable[bytes]) -> int:
        """Stores what `chunks` yields, whole or not at all, in bounded memory; returns its size in bytes.

        Raises StorageFault, and what `chunks` raises.
        """
        if self._folder is not None:
            try:
                return await folder_files.write(self._folder / _checked(key), chunks)
            except folder_files.FolderFault as fault:
                raise StorageFault(str(fault)) from fault
        source = _Counted(chunks)
        try:
            await obstore.put_async(self._store, _checked(key), source.read(), chunk_size=PART_BYTES, max_concurrency=2)
        except (BaseError, OSError) as error:
            if source.failed:
                raise
            raise StorageFault(str(error)) from error
        return source.bytes

    async def save(self, key: str, source: Path, *, media_type: str | None = None) -> int:
        """Stores a local file, which is never written to again; returns its size in bytes.

        `media_type`: as what a bucket serves it by itself.
        """
        if self._folder is not None:  # it keeps no media types
            return await folder_files.take(source, self._folder / _checked(key))
        served = {"Content-Type": media_type, "Cache-Control": LASTING} if media_type and self._bucket else None
        with _faults_of(key):
            await obstore.put_async(
                self._store, _checked(key), source, attributes=served, chunk_size=PART_BYTES, max_concurrency=2
            )
        return source.stat().st_size  # noqa: ASYNC240  # no wait: the file was just read

    async def signed_url(self, method: Literal["GET", "HEAD", "PUT"], key: str, *, expires_in_s: float) -> str | None:
        """The bucket's own URL for that, which needs no credentials until it expires; None if this is a folder."""
        if self._bucket is None:
            return None
        expires_in = timedelta(seconds=min(int(expires_in_s), MAX_SIGNED_S))
        return await obstore.sign_async(self._bucket, method, _checked(key), expires_in)

    async def info(self, key: str) -> FileInfo:
        """Raises FileMissing; StorageFault if there is no answer in ten seconds: a client waits for it."""
        with _faults_of(key):
            async with asyncio.timeout(INFO_LIMIT_S):
                meta = await obstore.head_async(self._store, _checked(key))
        return FileInfo(size_bytes=meta["size"], etag=meta["e_tag"] or "", modified_at=meta["last_modified"])

    async def read(
        self, key: str, part: tuple[int, int] | None = None, *, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        """The stored bytes in chunks, or those from the first to before the second. Raises FileMissing at the first.

        Also if the whole file that is asked for has another `etag` than this.
        """
        if part is not None:
            async for chunk in self._read_part(key, *part):
                yield chunk
            return
        with _faults_of(key):
            found = await obstore.get_async(self._store, _checked(key), options={"if_match": etag} if etag else None)
        async for chunk in _each(found.stream(min_chunk_size=CHUNK_BYTES), key):
            yield bytes(chunk)

    async def _read_part(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, CHUNK_BYTES):  # a client that does not read has one of them in memory
            with _faults_of(key):
                stop = min(at + CHUNK_BYTES, end)
                chunk = await obstore.get_range_async(self._store, _checked(key), start=at, end=stop)
            yield bytes(chunk)

    async def fetch(self, key: str, target: Path, *, size_bytes: int | None = None, etag: str | None = None) -> int:
        """Writes a stored file to a local path; returns its size in bytes. Raises FileMissing.

        `size_bytes`, `etag`: those that it must have, if they are known. Who has a bucket's URL may have put another
        file there, of any size: then it is missing, and the disk has no more of it than a chunk.
        """
        size = 0
        with target.open("wb") as file:  # page-cache writes of a chunk, far shorter than a thread's start
            async for chunk in self.read(key, etag=etag):
                size += file.write(chunk)
                if size_bytes is not None and size > size_bytes:
                    break
        if size_bytes not in (None, size):
            raise FileMissing(key)
        return size

    async def link(self, key: str, target: Path, *, size_bytes: int | None = None, etag: str | None = None) -> None:
        """Has the stored file at a local path too, to be read there and never written to. Raises FileMissing, as
        `fetch` does; in a folder nothing is replaced.

        A photo of 5 MB costs nothing so, where to fetch it takes 15 ms of CPU time, a quarter of what resizing it does.
        """
        if self._folder is None:
            await self.fetch(key, target, size_bytes=size_bytes, etag=etag)
            return
        with _faults_of(key):
            stored = self._folder / _checked(key)
            if not folder_files.is_linked(stored, target):
                await asyncio.to_thread(shutil.copyfile, stored, target)

    async def delete(self, key: str) -> None:
        """Deletes a file; does nothing if there is none."""
        with suppress(FileMissing), _faults_of(key):
            await obstore.delete_async(self._store, _checked(key))

    async def delete_below(self, folder: str) -> None:
        """Deletes all files in a folder and those in it; does nothing if there are none."""
        if not KEY.fullmatch(folder):
            return
        async for listed in self._listed(f"{folder}/"):
            for meta in listed:
                await self.delete(meta["path"])

    async def older(self, prefix: str, *, than_s: float) -> AsyncIterator[list[str]]:
        """The keys below that prefix of what was written before that moment, in seconds since 1970; some at a time."""
        async for listed in self._listed(prefix):
            if old := [meta["path"] for meta in listed if meta["last_modified"].timestamp() < than_s]:
                yield old

    async def delete_unfinished(self, *, than_s: float) -> None:
        """Deletes what was left of files that were not written whole, before that moment; a bucket has rules for it."""
        if self._folder is not None:
            files = folder_files.below(self._folder)
            while await asyncio.to_thread(_delete_unfinished, files, than_s):
                pass  # the next step

    async def delete_older(self, prefix: str, *, than_s: float) -> None:
        """Deletes what was written below that prefix before that moment, in seconds since 1970."""
        async for old in self.older(prefix, than_s=than_s):
            for key in old:
                await self.delete(key)

    def _listed(self, prefix: str) -> AsyncIterator[Sequence[ObjectMeta]]:
        """What is below that prefix, some at a time."""
        return _each(obstore.list(self._store, prefix=prefix, chunk_size=LISTED_AT_ONCE), prefix)


def _delete_unfinished(files: Iterator[DirEntry[str]], than_s: float) -> int:
    """Looks at the next of these files; returns their number."""
    looked_at = list(islice(files, LISTED_AT_ONCE))
    for found in looked_at:
        if folder_files.UNFINISHED.search(found.name):
            with suppress(FileNotFoundError):
                if found.stat().st_mtime < than_s:
                    Path(found).unlink()
    return len(looked_at)


class _Counted:
    """Chunks on their way, counted; it is known whose fault an error is."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = chunks
        self.bytes = 0
        self.failed = False

    async def read(self) -> AsyncIterator[bytes]:
        self.failed = True
        held: list[bytes] = []
        held_bytes = 0
        async for chunk in self._chunks:
            held.append(chunk)
            held_bytes += len(chunk)
            if held_bytes < CHUNK_BYTES:  # each call of the store costs as much as copying a hundred kilobytes
                continue
            self.bytes += held_bytes
            self.failed = False
            yield b"".join(held)
            self.failed = True
            held, held_bytes = [], 0
        self.failed = False
        self.bytes += held_bytes
        if held:
            yield b"".join(held)


async def _each(items: AsyncIterable[T], key: str) -> AsyncIterator[T]:
    """Each item that comes of a store; its errors are Errand's."""
    stream = aiter(items)
    while True:
        with _faults_of(key):
            try:
                item = await anext(stream)
            except StopAsyncIteration:
                return
        yield item


def _checked(key: str) -> str:
    """A key that means the same in every store. Raises FileMissing for any other: nothing can be stored under it."""
    if not KEY.fullmatch(key):
        raise FileMissing(key)
    return key


@contextmanager
def _faults_of(key: str) -> Iterator[None]:
    """Raises FileMissing for each of the errors by which stores say that it is not there, StorageFault for others."""
    try:
        yield
    except (NotFoundError, PreconditionError, FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise FileMissing(key) from None
    except (BaseError, TimeoutError) as error:
        if BELOW_A_FILE in str(error):
            raise FileMissing(key) from None
        raise StorageFault(f"{key}: {error or 'no answer'}") from error
