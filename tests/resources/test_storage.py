"""Files by key, on a local folder: whole or not at all, and nowhere but below that folder."""

from __future__ import annotations

import asyncio
import errno
import os
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from errand.resources.folder_files import opened
from errand.resources.storage import LISTED_AT_ONCE, FileMissing, Storage
from tests.waiting import eventually

MIB = 1024 * 1024
KEY = "resize/user:7@acme+a.b_c-d/a.png"
"""With all that the id of a job may have."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.at((tmp_path / "files").as_uri())


def stored(folder: Path) -> list[str]:
    """Every file below, hidden and half-written ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def chunks(*content: bytes) -> AsyncIterator[bytes]:
    for chunk in content:
        yield chunk


async def content_of(storage: Storage, key: str) -> bytes:
    return b"".join([chunk async for chunk in storage.read(key)])


@pytest.mark.parametrize(
    "content",
    [[], [b""], [b"abc"], [b"a", b"", b"bc"], [b"%d" % n for n in range(3000)], [bytes([n]) * MIB for n in range(13)]],
    ids=["nothing", "an empty chunk", "one chunk", "small chunks", "many chunks", "several parts"],
)
async def test_written_bytes_are_read_back(storage: Storage, tmp_path: Path, content: list[bytes]) -> None:
    whole = b"".join(content)
    assert await storage.write(KEY, chunks(*content)) == len(whole)
    assert await content_of(storage, KEY) == whole
    assert (await storage.info(KEY)).size_bytes == len(whole)
    assert (tmp_path / "files" / KEY).read_bytes() == whole
    assert await storage.fetch(KEY, tmp_path / "copy") == len(whole)
    assert (tmp_path / "copy").read_bytes() == whole


async def test_a_part_comes_in_pieces_that_a_client_who_does_not_read_may_hold(storage: Storage) -> None:
    content = os.urandom(MIB // 4) * 13
    await storage.write(KEY, chunks(content))
    pieces = [piece async for piece in storage.read(KEY, (7, len(content) - 1))]
    assert b"".join(pieces) == content[7:-1] and max(map(len, pieces)) <= MIB


@pytest.mark.parametrize("linkable", [True, False])
async def test_a_local_file_is_saved(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linkable: bool
) -> None:
    """It is not copied if a link to it can be made; on another file system (EXDEV) none can."""
    link = Mock(wraps=os.link, side_effect=None if linkable else OSError(errno.EXDEV, "another file system"))
    monkeypatch.setattr(os, "link", link)
    for content in (b"before", b"abc"):
        (tmp_path / content.decode()).write_bytes(content)
        assert await storage.save(KEY, tmp_path / content.decode()) == len(content)
        assert await content_of(storage, KEY) == content
    assert (tmp_path / "abc").samefile(tmp_path / "files" / KEY) is linkable
    with pytest.raises(FileNotFoundError):
        await storage.save(KEY, tmp_path / "none")
    assert await content_of(storage, KEY) == b"abc" and stored(tmp_path / "files") == [KEY]


async def test_writing_again_replaces_and_changes_the_tag(storage: Storage) -> None:
    await storage.write(KEY, chunks(b"first"))
    tag = (await storage.info(KEY)).etag
    assert tag and (await storage.info(KEY)).etag == tag
    await storage.write(KEY, chunks(b"second"))
    assert await content_of(storage, KEY) == b"second"
    assert (await storage.info(KEY)).etag != tag


@pytest.mark.parametrize("before_mib", [0, 1, 6, 12])
async def test_a_write_that_fails_midway_leaves_nothing(storage: Storage, tmp_path: Path, before_mib: int) -> None:
    async def broken() -> AsyncIterator[bytes]:
        for _ in range(before_mib):
            yield bytes(MIB)
        raise ConnectionError("the client hung up")

    with pytest.raises(ConnectionError, match="hung up"):
        await storage.write(KEY, broken())
    assert stored(tmp_path) == []
    with pytest.raises(FileMissing):
        await storage.info(KEY)


@pytest.mark.parametrize("before_mib", [0, 6, 12])
async def test_a_write_that_is_cancelled_leaves_nothing(storage: Storage, tmp_path: Path, before_mib: int) -> None:
    waiting = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        for _ in range(before_mib):
            yield bytes(MIB)
        waiting.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(storage.write(KEY, stuck()))
    await waiting.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing

    async def nothing_left() -> bool:
        return not stored(tmp_path)

    await eventually(nothing_left)  # what was half written is deleted in the background


async def test_a_write_that_fails_keeps_the_old_file(storage: Storage) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(12 * MIB)
        raise ConnectionError

    await storage.write(KEY, chunks(b"first"))
    with pytest.raises(ConnectionError):
        await storage.write(KEY, broken())
    assert await content_of(storage, KEY) == b"first"


async def test_a_file_that_was_deleted_or_never_stored_is_missing(storage: Storage, tmp_path: Path) -> None:
    await storage.write(KEY, chunks(b"abc"))
    await storage.delete(KEY)
    await storage.delete(KEY)
    await storage.delete("../files")
    for key in (KEY, "resize", "resize/1/b.png"):
        with pytest.raises(FileMissing):
            await storage.info(key)
        with pytest.raises(FileMissing):
            await content_of(storage, key)
        with pytest.raises(FileMissing):
            await storage.fetch(key, tmp_path / "copy")


@pytest.mark.parametrize(
    "key",
    [
        *("", ".", "..", "/", "../secret", "a/../../secret", "a/..", "/etc/passwd", "a//b", "a/", "./a", "a/./b"),
        *(".hidden", "a/.hidden", "a\\..\\b", "a\x00", "a\n", "a b", "a#1", "a%2e", "é", "x" * 129, "a/" * 150 + "a"),
    ],
)
async def test_a_key_that_could_mean_something_else_elsewhere_is_never_found(
    storage: Storage, tmp_path: Path, key: str
) -> None:
    (tmp_path / "secret").write_text("s3cret")
    before = stored(tmp_path)
    for refused in (storage.info(key), content_of(storage, key), storage.write(key, chunks(b"x"))):
        with pytest.raises(FileMissing):
            await refused
    assert stored(tmp_path) == before


async def test_a_key_that_goes_through_a_file_is_not_found(storage: Storage) -> None:
    await storage.write(KEY, chunks(b"abc"))
    with pytest.raises(FileMissing):
        await storage.info(f"{KEY}/b")
    with pytest.raises(FileMissing):
        await content_of(storage, f"{KEY}/b")


async def test_a_folder_with_odd_letters_in_its_name_is_that_folder(tmp_path: Path) -> None:
    folder = tmp_path / "ä b%20c"
    await Storage.at(folder.as_uri()).write(KEY, chunks(b"abc"))
    assert stored(folder) == [KEY]


async def test_a_linked_file_is_the_stored_one_and_outlives_it(storage: Storage, tmp_path: Path) -> None:
    await storage.write(KEY, chunks(b"content"))
    await storage.link(KEY, tmp_path / "linked")
    assert (tmp_path / "linked").samefile(tmp_path / "files" / KEY)
    await storage.delete(KEY)
    assert (tmp_path / "linked").read_bytes() == b"content"
    for missing in (KEY, f"{KEY}/below", "resize"):
        with pytest.raises(FileMissing):
            await storage.link(missing, tmp_path / "none")


async def test_two_writers_of_one_key_leave_one_whole_file(storage: Storage, tmp_path: Path) -> None:
    contents = [bytes([number]) * (3 * MIB) for number in range(4)]
    await asyncio.gather(*(storage.write(KEY, chunks(content[:MIB], content[MIB:])) for content in contents))
    assert await content_of(storage, KEY) in contents
    assert stored(tmp_path / "files") == [KEY]


async def test_a_folder_that_empties_while_a_file_is_written_into_it_is_made_again(storage: Storage) -> None:
    async def rival() -> None:
        for _ in range(50):
            await storage.write("resize/1/b.png", chunks(b"b"))
            await storage.delete("resize/1/b.png")

    rivals = asyncio.create_task(rival())
    while not rivals.done():
        await storage.write(KEY, chunks(b"abc"))
        await storage.delete(KEY)
    await rivals


def test_a_folder_that_goes_while_it_is_looked_at_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Path.mkdir` sees that there is one, then looks whether it is a folder: by then it may be gone."""
    make, faults = Path.mkdir, [FileExistsError()]

    def mkdir(path: Path, *args: Any, **options: Any) -> None:
        if faults:
            raise faults.pop()
        make(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    opened(tmp_path / "resize" / "a.png").close()
    assert (tmp_path / "resize" / "a.png").exists()


async def test_what_was_left_of_files_is_found_among_very_many_in_little_memory(
    storage: Storage, tmp_path: Path
) -> None:
    folder = tmp_path / "files" / "uploads"
    for below in (folder, folder / "parts"):
        below.mkdir(parents=True)
        for number in range(3 * LISTED_AT_ONCE):
            os.close(os.open(below / f"file{number}", os.O_CREAT))
        for name in ("old#1", "young#2", "old"):
            (below / name).touch()
        for name in ("old#1", "old"):
            os.utime(below / name, (1, 1))
    (folder / "gone#3").symlink_to(tmp_path)
    tracemalloc.start()
    try:
        await storage.delete_unfinished(than_s=time.time() - 60)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    left = [name for name in stored(folder) if not name.removeprefix("parts/").startswith("file")]
    assert left == ["old", "parts/old", "parts/young#2", "young#2"]
    assert (folder / "gone#3").is_symlink()
    assert peak_bytes < 1024 * 1024
