"""Files in a bucket of a real S3 server: by key as in a folder, and by the bucket's own signed URLs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from errand.resources.storage import PART_BYTES, FileMissing, Storage
from jobs.resize import resize
from settings import Settings
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.http.answers_seen import problem_of
from tests.pictures import image, size_of
from tests.s3_server import BUCKET, s3_server

KEY = "resize/user:7@acme+a.b_c-d/a.png"
"""With all that the id of a job may have."""


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture
def bucket_url(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/errand"


async def chunks(*content: bytes) -> AsyncIterator[bytes]:
    for chunk in content:
        yield chunk


async def test_a_bucket_keeps_files_as_a_folder_does(bucket_url: str, tmp_path: Path) -> None:
    storage = Storage.at(bucket_url)
    large = bytes(range(256)) * (2 * PART_BYTES // 256) + b"the end"
    assert await storage.write(KEY, chunks(large[:1000], large[1000:])) == len(large)
    assert await storage.fetch(KEY, tmp_path / "copy") == len(large)
    assert (tmp_path / "copy").read_bytes() == large
    assert (await storage.info(KEY)).size_bytes == len(large)
    assert b"".join([chunk async for chunk in storage.read(KEY, (3, 9))]) == large[3:9]
    # another file was put there meanwhile
    for size_bytes in (1000, len(large) + 1):
        with pytest.raises(FileMissing):
            await storage.link(KEY, tmp_path / "other", size_bytes=size_bytes)
    etag = (await storage.info(KEY)).etag
    await storage.link(KEY, tmp_path / "same", etag=etag)
    with pytest.raises(FileMissing):
        await storage.link(KEY, tmp_path / "other", etag='"another"')
    assert await storage.save(KEY, tmp_path / "copy", media_type="image/png") == len(large)
    await storage.delete_older("resize/", than_s=time.time() - 3_600)
    assert (await storage.info(KEY)).size_bytes == len(large)
    await storage.delete_older("resize/", than_s=time.time() + 3_600)
    with pytest.raises(FileMissing):
        await storage.info(KEY)
    with pytest.raises(FileMissing):
        await storage.fetch(KEY, tmp_path / "none")
    await storage.delete(KEY)


async def test_an_image_goes_to_the_bucket_and_comes_from_it_by_its_own_urls(
    bucket_url: str, open_client: OpenClient, run_worker: RunWorker, settings: Settings, redis_url: str
) -> None:
    photo = image(600, 400)
    with_bucket = make_settings(settings.data_dir, redis_url=redis_url, storage_url=bucket_url, bucket_urls=True)
    async with (
        open_client(with_bucket) as client,
        run_worker([resize], with_bucket),
        httpx.AsyncClient(verify=False) as outside,
    ):
        upload = (await client.post("/v1/uploads", json={"bytes": len(photo), "filename": "cat.jpg"})).json()
        elsewhere = upload["bucket_url"].replace("uploads/", "resize/", 1)
        assert (await outside.put(elsewhere, content=photo)).status_code == 403
        assert (await outside.put(upload["bucket_url"], content=photo)).status_code == 200
        args = {"file": upload["file"], "sizes": [{"width": 60}]}
        put = await client.post("/v1/jobs/resize", json=args, headers={"Prefer": "wait=30"})
        (output,) = put.json()["result"]["outputs"]
        answer = await client.get(output["url"])
        assert (answer.status_code, answer.headers["cache-control"]) == (307, "private, max-age=1800")
        served = await outside.get(answer.headers["location"])
        assert served.headers["content-type"] == "image/jpeg" and "immutable" in served.headers["cache-control"]
        assert size_of(served.content) == (60, 40) and len(served.content) == output["bytes"]
        head = await client.head(output["url"])
        assert (await outside.head(head.headers["location"])).status_code == 200
        problem_of(await client.get(f"/v1/files/{upload['file']['key']}"), 404, "unknown-file")
        # what is not redirected is served as from a folder
        through = make_settings(settings.data_dir, redis_url=redis_url, storage_url=bucket_url)
        async with open_client(through) as plain:
            assert (await plain.get(output["url"])).content == served.content


async def test_a_job_takes_no_other_file_of_the_size_of_its_own(
    bucket_url: str, open_client: OpenClient, run_worker: RunWorker, settings: Settings, redis_url: str
) -> None:
    """The bucket's URL admits another file until it expires, also after the job was put."""
    photo, other = image(60, 40) + b"a", image(60, 40) + b"b"
    with_bucket = make_settings(settings.data_dir, redis_url=redis_url, storage_url=bucket_url, bucket_urls=True)
    async with open_client(with_bucket) as client, httpx.AsyncClient(verify=False) as outside:
        upload = (await client.post("/v1/uploads", json={"bytes": len(photo)})).json()
        await outside.put(upload["bucket_url"], content=photo)
        args = {"file": upload["file"], "sizes": [{"width": 30}]}
        put = (await client.post("/v1/jobs/resize", json=args)).json()
        await outside.put(upload["bucket_url"], content=other)
        async with run_worker([resize], with_bucket):
            ended = (await client.get(f"/v1/jobs/{put['id']}", params={"wait": 30})).json()
    assert (ended["status"], ended["error"]["message"]) == ("failed", "the uploaded file is no longer stored")
