"""A bucket that is away: each method says so, and requests are answered in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from errand.resources import storage as storage_module
from errand.resources.storage import Storage, StorageFault
from errand.uploads.sessions import SWEEP_EVERY_S, UploadSessions
from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.http.answers_seen import problem_of
from tests.ports import free_port

KEY = "resize/1/a.png"


@pytest.fixture
async def away(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Behind a server that answers no HEAD, and refuses all else, as if the credentials had been withdrawn."""
    over = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readuntil(b"\r\n\r\n")).startswith(b"HEAD"):
            await over.wait()
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port := free_port())
    access = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    for name, value in {**access, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage_module, "INFO_LIMIT_S", 0.2)
    yield "s3://pictures"
    over.set()
    server.close()
    await server.wait_closed()


async def test_a_file_in_a_bucket_that_is_away_is_a_503(
    away: str, open_client: OpenClient, settings: Settings, redis_url: str
) -> None:
    with_bucket = make_settings(settings.data_dir, redis_url=redis_url, storage_url=away, file_url_keys="f" * 32)
    async with open_client(with_bucket) as client:
        for asked in (
            client.get(f"/v1/files/{KEY}"),
            client.head(f"/v1/files/{KEY}"),
            client.get(f"/dashboard/files/{KEY}"),
            client.post("/v1/file-urls", json={"key": KEY}),
        ):
            answer = await asked
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        problem_of(await client.get(f"/v1/files/{KEY}"), 503, "storage-unavailable")


async def test_each_method_says_so_by_one_error(away: str, tmp_path: Path) -> None:
    storage = Storage.at(away)
    (tmp_path / "source").write_bytes(b"a")
    for call in (
        storage.info(KEY),
        storage.fetch(KEY, tmp_path / "copy"),
        anext(storage.read(KEY, (0, 1))),
        storage.save(KEY, tmp_path / "source"),
        storage.delete(KEY),
        storage.delete_below("resize/1"),
        storage.delete_older("resize/", than_s=0),
    ):
        with pytest.raises(StorageFault):
            await call


async def test_an_upload_begins_though_nothing_can_be_swept(away: str, redis: ArqRedis) -> None:
    uploads = UploadSessions(redis, Storage.at(away), ttl_s=60)
    uploads._swept_s -= SWEEP_EVERY_S
    assert (await uploads.create(size_bytes=1, filename=None)).offset == 0
