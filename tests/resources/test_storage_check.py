"""Whether uploads can be stored is known before one is sent, and `/readyz` says it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from errand.resources import storage_check
from errand.resources.storage import Storage
from errand.resources.storage_check import StorageCheck
from errand.settings import Settings
from errand.wire import keys
from tests.conftest import OpenClient


def check_of(folder: Path, *, needs_bytes: int = 1) -> StorageCheck:
    return StorageCheck(Storage.at(folder.as_uri()), folder.as_uri(), needs_bytes=needs_bytes)


async def test_a_storage_that_takes_files_has_no_fault_and_keeps_nothing_of_the_check(tmp_path: Path) -> None:
    assert await check_of(tmp_path).fault() is None
    assert os.listdir(tmp_path) == []


async def test_a_disk_with_less_room_than_an_upload_may_take_is_a_fault(tmp_path: Path) -> None:
    fault = await check_of(tmp_path, needs_bytes=1 << 60).fault()
    assert fault is not None and fault.endswith(f"bytes are free, and an upload may have {1 << 60}")


async def test_a_folder_that_cannot_be_written_to_is_a_fault_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = check_of(tmp_path / "files")
    (tmp_path / "files").rmdir()
    (tmp_path / "files").touch()
    assert await check.fault() is not None
    (tmp_path / "files").unlink()
    assert await check.fault() is not None, "asked a moment ago"
    monkeypatch.setattr(storage_check, "CHECK_EVERY_S", 0)
    assert await check.fault() is None


async def test_readiness_says_it(open_client: OpenClient, settings: Settings, redis: ArqRedis) -> None:
    seconds, micros = await redis.time()
    await redis.zadd(keys.workers(keys.queue("default")), {"a:1:b": seconds * 1000 + micros // 1000})
    async with open_client() as client:
        assert (await client.get("/readyz")).status_code == 200
    async with open_client(settings.model_copy(update={"upload_limit_bytes": 1 << 60})) as client:
        answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/storage-unavailable")
    assert answer.headers["retry-after"] == "10"
    assert "bytes" not in answer.text, "it is open to all"
