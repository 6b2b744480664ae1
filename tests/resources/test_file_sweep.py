"""Files end with their jobs, or after a time of their own; nothing that somebody may still want is deleted."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from errand.queue.queue import Queue
from errand.redis.cluster.partitions import Partitions
from errand.resources import file_sweep
from errand.resources.file_sweep import FileSweep, FileTtl, delete_working_folders
from errand.resources.job_files import JobFiles
from errand.resources.storage import Storage
from tests.waiting import eventually

DAY_S = 86_400
UPLOADS = [f"uploads/{number:08}-0000-4000-8000-000000000000" for number in range(6)]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage.at((tmp_path / "files").as_uri())


@pytest.fixture
def sweep(redis: ArqRedis, storage: Storage) -> FileSweep:
    return FileSweep(Partitions([redis]), storage, ttl=FileTtl(upload_s=2 * DAY_S, output_s=2 * DAY_S))


async def nothing() -> AsyncIterator[bytes]:
    yield b"x"


async def write(storage: Storage, tmp_path: Path, *names: str, days_ago: float) -> None:
    for name in names:
        path = tmp_path / "files" / name
        if "#" in name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        else:
            await storage.write(name, nothing())
        written_s = time.time() - days_ago * DAY_S
        os.utime(path, (written_s, written_s))


def stored(tmp_path: Path) -> set[str]:
    folder = tmp_path / "files"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_a_sweep_deletes_what_is_old_and_belongs_to_no_job_that_is_known(
    redis: ArqRedis, storage: Storage, sweep: FileSweep, tmp_path: Path
) -> None:
    put = await Queue(redis, ended_ttl_s=60).enqueue("resize", {})
    await redis.set("arq:result:ended", b"{}")
    files = JobFiles(Partitions([redis]), storage)
    await files.note(put.job_id, {"file": {"key": UPLOADS[0]}})
    await files.note("ended", {"files": [{"key": UPLOADS[0]}, {"key": UPLOADS[1]}]})
    await files.note("forgotten", {"file": {"key": UPLOADS[2]}})
    gone = [UPLOADS[2], UPLOADS[3], "resize/forgotten/1.png", "uploads/half#1"]
    kept = [UPLOADS[0], UPLOADS[1], "uploads/parts/1/0", f"resize/{put.job_id}/1.png", "resize/ended/1.png", "own/1"]
    young = [UPLOADS[4], "resize/forgotten/2.png", "uploads/half#2"]
    await write(storage, tmp_path, *gone, *kept, days_ago=3)
    await write(storage, tmp_path, *young, days_ago=0.5)
    assert await sweep.sweep() == 3
    assert stored(tmp_path) == {*kept, *young}
    assert await redis.exists(*(f"errand:upload-jobs:{upload}" for upload in UPLOADS[2:])) == 0


async def test_a_key_that_another_program_has_written_takes_no_answer_from_a_job_that_was_put(
    redis: ArqRedis, storage: Storage
) -> None:
    await redis.set(f"errand:upload-jobs:{UPLOADS[0]}", b"another program's")
    with capture_logs() as logs:
        await JobFiles(Partitions([redis]), storage).note("a", {"file": {"key": UPLOADS[0]}})
        await JobFiles(Partitions([redis]), storage).forget("a", {"file": {"key": UPLOADS[0]}})
    assert [line["log_level"] for line in logs] == ["warning"] * 2


async def test_a_process_sweeps_by_itself_and_once_a_day_for_all(
    redis: ArqRedis, storage: Storage, sweep: FileSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_sweep, "FIRST_LOOK_S", 0)
    await write(storage, tmp_path, UPLOADS[0], days_ago=3)

    async def swept() -> bool:
        return not stored(tmp_path)

    async with sweep.running():
        await eventually(swept)
        assert not await sweep.is_its_turn()
        assert 0 < await redis.pttl("errand:files-swept") <= DAY_S * 1000


def test_folders_that_killed_processes_worked_in_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old, young, other = (tmp_path / name for name in ("errand-images-a", "errand-images-b", "other"))
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "source").write_bytes(b"x")
    link = tmp_path / "errand-images-link"
    link.symlink_to(other)
    for path in (old, other, link):
        os.utime(path, (1, 1), follow_symlinks=False)
    delete_working_folders(than_s=time.time() - 60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["errand-images-b", "errand-images-link", "other"]


async def test_a_file_that_cannot_be_deleted_keeps_no_other(
    storage: Storage, sweep: FileSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bucket keeps a file that is locked: each day's sweep would end there."""
    await write(storage, tmp_path, *UPLOADS, days_ago=3)
    delete = storage.delete

    async def refusing(key: str) -> None:
        if key != UPLOADS[-1]:
            raise PermissionError(key)
        await delete(key)

    monkeypatch.setattr(storage, "delete", refusing)
    with capture_logs() as said:
        assert await sweep.sweep() == 1
    assert stored(tmp_path) == set(UPLOADS[:-1]) == {line["key"] for line in said if "key" in line}
    monkeypatch.setattr(file_sweep, "MAX_FAULTS", 2)
    with pytest.raises(PermissionError):
        await sweep.look()
    assert await sweep.is_its_turn(), "what was cut short is not over for the day"
