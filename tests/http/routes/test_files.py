"""`GET /v1/files/{key}`: what jobs stored, as data and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from errand.resources.storage import Storage
from settings import Settings
from tests.http.answers_seen import problem_of


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage.at(settings.files_url)


async def store(storage: Storage, key: str, content: bytes = b"content") -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    await storage.write(key, chunks())


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.jpeg", "image/jpeg"),
        ("a.png", "image/png"),
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("a.gif", "image/gif"),
        ("a.tiff", "image/tiff"),
        ("a", "application/octet-stream"),
    ],
)
async def test_a_stored_file_is_served_as_what_it_is(
    client: httpx.AsyncClient, storage: Storage, name: str, media_type: str
) -> None:
    await store(storage, f"resize/1/{name}", b"\x00\xff" * 1_000_000)
    answer = await client.get(f"/v1/files/resize/1/{name}")
    assert (answer.status_code, answer.content) == (200, b"\x00\xff" * 1_000_000)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-length"] == "2000000"


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        *(("page.html", "attachment"), ("drawing.svg", "attachment"), ("paper.pdf", "attachment"), ("a", "attachment")),
        *(("a.xml", "attachment"), ("a.svg.png", "inline"), ("a.jpeg", "inline"), ("A.PNG", "inline")),
    ],
)
async def test_a_browser_is_told_to_take_it_for_data(
    client: httpx.AsyncClient, storage: Storage, name: str, disposition: str
) -> None:
    await store(storage, f"resize/1/{name}", b"<script>alert(1)</script>")
    answer = await client.get(f"/v1/files/resize/1/{name}")
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("content-security-policy") == ["default-src 'none'; sandbox; frame-ancestors 'none'"]
    assert answer.headers["cross-origin-resource-policy"] == "same-site"
    assert answer.headers["content-disposition"] == f'{disposition}; filename="{name}"'
    assert answer.headers.get_list("cache-control") == ["private, max-age=3600"]


async def test_to_ask_for_the_head_of_a_file_reads_none_of_it(client: httpx.AsyncClient, storage: Storage) -> None:
    await store(storage, "resize/1/a.png", b"content")
    whole, head = await client.get("/v1/files/resize/1/a.png"), await client.head("/v1/files/resize/1/a.png")
    assert (head.status_code, head.content, head.headers) == (200, b"", whole.headers)
    assert head.headers["content-length"] == "7"


@pytest.mark.parametrize("given", ["*", "{}", "W/{}", '"other", {}'])
async def test_a_client_that_has_it_already_is_told_so(client: httpx.AsyncClient, storage: Storage, given: str) -> None:
    await store(storage, "resize/1/a.png")
    etag = (await client.get("/v1/files/resize/1/a.png")).headers["etag"]
    assert etag.startswith('"') and etag.endswith('"')
    again = await client.get("/v1/files/resize/1/a.png", headers={"If-None-Match": given.format(etag)})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)


async def test_other_content_under_the_same_key_is_sent_anew(client: httpx.AsyncClient, storage: Storage) -> None:
    await store(storage, "resize/1/a.png", b"first")
    etag = (await client.get("/v1/files/resize/1/a.png")).headers["etag"]
    await store(storage, "resize/1/a.png", b"second")
    answer = await client.get("/v1/files/resize/1/a.png", headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (200, b"second")


@pytest.mark.parametrize(
    "key",
    [
        *("resize/2/a.png", "resize", "resize/1/a.png/b", "resize/1/a.png/", "resize//1/a.png", ""),
        *("..%2Fsecret", "resize/..%2F..%2Fsecret", "%2E%2E/secret", "resize/%2E/1/a.png", "%2Fetc/passwd", "%00"),
        *("a" * 200, "a" * 300, "résumé", "a%0A", ".hidden", "resize/1/%2Ehidden", "a%20b", "resize%5C1"),
    ],
)
async def test_nothing_but_a_stored_file_is_found(
    client: httpx.AsyncClient, storage: Storage, settings: Settings, key: str
) -> None:
    await store(storage, "resize/1/a.png")
    (settings.data_dir / "secret").write_text("s3cret")
    (settings.data_dir / "files" / ".hidden").write_text("s3cret")
    (settings.data_dir / "files" / "resize" / "1" / ".hidden").write_text("s3cret")
    problem_of(await client.get(f"/v1/files/{key}"), 404, "unknown-file")


async def test_uploads_are_never_served(client: httpx.AsyncClient, storage: Storage) -> None:
    await store(storage, "uploads/00000000-0000-0000-0000-000000000000")
    await store(storage, "UPLOADS/a")  # on a file system that does not know capitals, the same folder
    for key in (
        "uploads/00000000-0000-0000-0000-000000000000",
        "UPLOADS/a",
        "%75ploads/00000000-0000-0000-0000-000000000000",
    ):
        problem_of(await client.get(f"/v1/files/{key}"), 404, "unknown-file")
