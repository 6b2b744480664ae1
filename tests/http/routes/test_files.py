"""`GET /v1/files/{key}`: what jobs stored, as data and nothing else."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr

from errand.resources.signed_urls import signature_of
from errand.resources.storage import Storage
from settings import Settings
from tests.conftest import OpenClient, make_settings
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
    assert answer.headers.get_list("cache-control") == ["private, max-age=31536000, immutable"]


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


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        *(("bytes=0-3", "0123"), ("bytes=4-", "456789"), ("bytes=-2", "89"), ("bytes=8-99", "89"), ("bytes=-99", None)),
        *(("bytes=0-1,3-4", None), ("bytes=3-1", None), ("lines=0-1", None), ("bytes=-", None), ("bytes=x", None)),
    ],
)
async def test_a_part_of_a_file_is_sent_if_it_is_asked_for(
    client: httpx.AsyncClient, storage: Storage, asked: str, part: str | None
) -> None:
    await store(storage, "resize/1/a.png", b"0123456789")
    answer = await client.get("/v1/files/resize/1/a.png", headers={"Range": asked})
    if part is None or len(part) == 10:
        assert (answer.text, answer.status_code in (200, 206)) == ("0123456789", True)
        return
    start = "0123456789".index(part)
    assert (answer.status_code, answer.text, answer.headers["content-length"]) == (206, part, str(len(part)))
    assert answer.headers["content-range"] == f"bytes {start}-{start + len(part) - 1}/10"
    unchanged = {"Range": asked, "If-Range": answer.headers["etag"]}
    assert (await client.get("/v1/files/resize/1/a.png", headers=unchanged)).status_code == 206
    changed = {"Range": asked, "If-Range": '"another"'}
    assert (await client.get("/v1/files/resize/1/a.png", headers=changed)).status_code == 200


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=-0"])
async def test_a_part_behind_the_end_is_a_416(client: httpx.AsyncClient, storage: Storage, asked: str) -> None:
    await store(storage, "resize/1/a.png", b"0123456789")
    answer = await client.get("/v1/files/resize/1/a.png", headers={"Range": asked})
    problem_of(answer, 416, "range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */10"


NEVER = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"


async def test_the_date_of_a_file_is_a_validator_too(client: httpx.AsyncClient, storage: Storage) -> None:
    await store(storage, "resize/1/a.png")
    date = (await client.get("/v1/files/resize/1/a.png")).headers["last-modified"]
    for given, status in ((date, 304), ("Thu, 01 Jan 1970 00:00:00 GMT", 200), ("yesterday", 200), (NEVER, 200)):
        again = await client.get("/v1/files/resize/1/a.png", headers={"If-Modified-Since": given})
        assert again.status_code == status
    other_tag = {"If-Modified-Since": date, "If-None-Match": '"another"'}
    assert (await client.get("/v1/files/resize/1/a.png", headers=other_tag)).status_code == 200


async def test_a_file_that_is_not_the_one_asked_for_is_a_412(client: httpx.AsyncClient, storage: Storage) -> None:
    """RFC 9110, sections 13.1.1, 13.1.4 and 13.2.2: before all else that a request says of what it has."""
    await store(storage, "resize/1/a.png")
    whole = await client.get("/v1/files/resize/1/a.png")
    etag, date, old = whole.headers["etag"], whole.headers["last-modified"], "Thu, 01 Jan 1970 00:00:00 GMT"

    async def asked(**names: str) -> httpx.Response:
        headers = {name.replace("_", "-"): value for name, value in names.items()}
        return await client.get("/v1/files/resize/1/a.png", headers=headers)

    for meant in ({"if_match": "*"}, {"if_match": f'"other", {etag}'}, {"if_match": etag, "if_unmodified_since": old}):
        assert (await asked(**meant)).content == b"content"
    for since in (date, "yesterday", NEVER):
        assert (await asked(if_unmodified_since=since)).content == b"content"
    assert (await asked(if_match=etag, if_none_match=etag)).status_code == 304
    assert (await asked(if_match=etag, range="bytes=1-2")).content == b"on"
    for other in ({"if_match": '"other"'}, {"if_match": f"W/{etag}"}, {"if_unmodified_since": old}):
        problem_of(await asked(**other, if_none_match=etag, range="bytes=1-2"), 412, "file-has-changed")
    problem_of(await asked(if_match=etag.strip('"')), 400, "malformed-if-match")


KEY = "an-api-key-of-the-service"
OLD, NEW = "o" * 32, "n" * 32
BEARER = {"Authorization": f"Bearer {KEY}"}


async def test_a_signed_url_shows_a_file_without_a_key_until_it_expires(
    open_client: OpenClient, settings: Settings, storage: Storage, redis_url: str
) -> None:
    await store(storage, "resize/1/a.png", b"pixels")
    await store(storage, "resize/1/b.png", b"others")
    guarded = make_settings(settings.data_dir, redis_url=redis_url, api_keys=KEY, file_url_keys=OLD)
    async with open_client(guarded) as client:
        asked = {"key": "resize/1/a.png", "expires_in": "1h"}
        assert (await client.post("/v1/file-urls", json=asked)).status_code == 401
        url = (await client.post("/v1/file-urls", json=asked, headers=BEARER)).json()["url"]
        problem_of(await client.get("/v1/files/resize/1/a.png"), 401, "unauthorized")
        shown = await client.get(url)
        assert (shown.status_code, shown.content) == (200, b"pixels")
        assert shown.headers["cache-control"].startswith("public, max-age=3")
        for other in (url.replace("a.png", "b.png"), url.replace("expires=", "expires=1"), url[:-3] + "AAA", f"{url}é"):
            problem_of(await client.get(other), 403, "forbidden")
        past = int(time.time()) - 1
        late = (
            f"/v1/files/resize/1/a.png?expires={past}&signature={signature_of('resize/1/a.png', past, SecretStr(OLD))}"
        )
        assert "expired" in problem_of(await client.get(late), 403, "forbidden")["detail"]
    changed = make_settings(settings.data_dir, redis_url=redis_url, api_keys=KEY, file_url_keys=f"{NEW},{OLD}")
    async with open_client(changed) as client:
        assert (await client.get(url)).content == b"pixels"
        newer = (await client.post("/v1/file-urls", json=asked, headers=BEARER)).json()["url"]
    gone = make_settings(settings.data_dir, redis_url=redis_url, api_keys=KEY, file_url_keys=NEW)
    async with open_client(gone) as client:
        assert [(await client.get(each)).status_code for each in (url, newer)] == [403, 200]


async def test_nothing_is_signed_without_a_key_to_sign_with(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/file-urls", json={"key": "resize/1/a.png"})
    assert "FILE_URL_KEYS" in problem_of(answer, 409, "no-signing-keys")["detail"]
    problem_of(await client.get("/v1/files/resize/1/a.png?expires=9999999999&signature=x"), 403, "forbidden")


async def test_nothing_is_signed_that_is_not_stored_or_never_served(
    open_client: OpenClient, settings: Settings, storage: Storage, redis_url: str
) -> None:
    await store(storage, "UPLOADS/a")  # on a file system that does not know capitals, what clients sent
    signing = make_settings(settings.data_dir, redis_url=redis_url, file_url_keys=OLD)
    async with open_client(signing) as client:
        for key in ("resize/1/none.png", "UPLOADS/a", "../secret", ""):
            problem_of(await client.post("/v1/file-urls", json={"key": key}), 404, "unknown-file")
