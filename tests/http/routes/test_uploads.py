"""Files that come by themselves: at once, in parts by tus, broken off and continued; then a job on them."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError
from starlette.requests import ClientDisconnect

from errand.resources.storage import PART_BYTES
from errand.uploads.sessions import MAX_SENDERS
from jobs.resize import resize
from settings import Settings
from tests.conftest import RunWorker
from tests.http.answers_seen import problem_of
from tests.pictures import image

TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}


async def created(client: httpx.AsyncClient, size_bytes: int) -> dict[str, Any]:
    """A new upload, announced by the headers of tus."""
    named = b64encode("Kätzchen.jpg".encode()).decode()
    headers = {**TUS, "Upload-Length": str(size_bytes), "Upload-Metadata": f"filetype aW1n,filename {named}"}
    answer = await client.post("/v1/uploads", headers=headers)
    assert answer.status_code == 201, answer.text
    view: dict[str, Any] = answer.json()
    assert answer.headers["location"] == view["url"] and "GMT" in answer.headers["upload-expires"]
    assert (view["offset"], view["file"]["bytes"], view["file"]["filename"]) == (0, size_bytes, "Kätzchen.jpg")
    return view


async def sent(client: httpx.AsyncClient, url: str, offset: int, content: Any) -> httpx.Response:
    return await client.patch(url, headers={**PART, "Upload-Offset": str(offset)}, content=content)


async def test_an_upload_in_parts_is_a_file_for_a_job_once_it_is_whole(
    client: httpx.AsyncClient, run_worker: RunWorker, settings: Settings
) -> None:
    photo = image(600, 400)
    half = len(photo) // 2
    upload = await created(client, len(photo))
    first = await sent(client, upload["url"], 0, photo[:half])
    assert (first.status_code, first.headers["upload-offset"]) == (204, str(half))
    args = {"file": upload["file"], "sizes": [{"width": 60}]}
    early = problem_of(await client.post("/v1/jobs/resize", json=args), 422, "invalid-request")
    assert "has all of the upload come" in early["detail"]
    again = await sent(client, upload["url"], 0, photo[:half])
    problem_of(again, 409, "wrong-offset")
    assert again.headers["upload-offset"] == str(half)
    head = await client.head(upload["url"], headers=TUS)
    assert [head.headers[f"upload-{name}"] for name in ("offset", "length")] == [str(half), str(len(photo))]
    assert (head.status_code, head.headers["cache-control"], head.content) == (200, "no-store", b"")
    assert (await sent(client, upload["url"], half, photo[half:])).headers["upload-offset"] == str(len(photo))
    assert (settings.data_dir / "files" / upload["file"]["key"]).read_bytes() == photo
    assert [path for path in (settings.data_dir / "files" / "uploads" / "parts").rglob("*") if path.is_file()] == []
    wrong = {**args, "file": {**upload["file"], "bytes": 7}}
    problem_of(await client.post("/v1/jobs/resize", json=wrong), 422, "invalid-request")
    async with run_worker([resize]):
        answer = await client.post("/v1/jobs/resize?", json=args, headers={"Prefer": "wait=20"})
        assert answer.json()["result"]["outputs"][0]["height"] == 40, answer.text


async def test_what_came_before_a_part_broke_off_is_kept(client: httpx.AsyncClient, settings: Settings) -> None:
    content = bytes(range(256)) * (PART_BYTES // 256) + b"the last bytes"
    upload = await created(client, len(content))

    async def cut(at: int) -> AsyncIterator[bytes]:
        for start in range(0, at, 1_000_000):
            yield content[start : min(start + 1_000_000, at)]
        raise ClientDisconnect

    await sent(client, upload["url"], 0, cut(PART_BYTES + 3))
    offset = int((await client.head(upload["url"], headers=TUS)).headers["upload-offset"])
    assert offset == PART_BYTES + 3
    assert (await sent(client, upload["url"], offset, content[offset:])).status_code == 204
    assert (settings.data_dir / "files" / upload["file"]["key"]).read_bytes() == content


async def test_of_two_that_send_one_part_at_once_one_goes_on(client: httpx.AsyncClient, settings: Settings) -> None:
    upload = await created(client, 6)
    answers = await asyncio.gather(*(sent(client, upload["url"], 0, b"abc") for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409]
    assert (await sent(client, upload["url"], 3, b"def")).status_code == 204
    assert (settings.data_dir / "files" / upload["file"]["key"]).read_bytes() == b"abcdef"


async def test_a_file_is_what_its_one_accepted_sender_sent_and_is_never_replaced(
    client: httpx.AsyncClient, settings: Settings, redis: ArqRedis
) -> None:
    for number in range(6):
        upload = await created(client, 4)
        path = settings.data_dir / "files" / upload["file"]["key"]
        if by_put := number % 2:
            calls = [client.put(upload["url"], content=bytes([65 + at]) * 4) for at in range(4)]
        else:
            await sent(client, upload["url"], 0, b"first"[:1])
            calls = [sent(client, upload["url"], 1, bytes([65 + at]) * 3) for at in range(4)]
        answers = await asyncio.gather(*calls)
        assert sorted(answer.status_code for answer in answers) == [204, 409, 409, 409]
        winner = next(at for at, answer in enumerate(answers) if answer.status_code == 204)
        assert path.read_bytes() == bytes([65 + winner]) * 4 if by_put else b"f" + bytes([65 + winner]) * 3
        problem_of(await client.put(upload["url"], content=b"evil"), 409, "wrong-offset")
        assert b"evil" not in path.read_bytes()
    assert [key async for key in redis.scan_iter("errand:upload-ending:*")] == []


async def test_so_many_may_send_an_upload_at_once_and_no_more(client: httpx.AsyncClient) -> None:
    upload, others = await created(client, 4), await created(client, 4)
    started, goes_on = asyncio.Semaphore(0), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"ab"
        started.release()
        await goes_on.wait()
        yield b"cd"

    calls = [client.put(upload["url"], content=slowly()) for _ in range(MAX_SENDERS // 2)]
    calls += [sent(client, upload["url"], 0, slowly()) for _ in range(MAX_SENDERS // 2)]
    sending = [asyncio.create_task(call) for call in calls]
    for _ in sending:
        await started.acquire()
    problem_of(await client.put(upload["url"], content=b"1234"), 409, "wrong-offset")
    problem_of(await sent(client, upload["url"], 0, b"1234"), 409, "wrong-offset")
    assert (await client.put(others["url"], content=b"1234")).status_code == 204
    goes_on.set()
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*sending))
    assert statuses == [204] + [409] * (MAX_SENDERS - 1)


async def test_an_end_that_an_outage_cut_off_can_be_sent_again_at_once(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, set_ = await created(client, 4), ArqRedis.set

    async def unheard(redis: ArqRedis, name: str, *given: Any, **more: Any) -> Any:
        answer = await set_(redis, name, *given, **more)
        if "upload-ending" in name:
            raise ConnectionError("the answer was lost")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(ArqRedis, "set", unheard)
        assert (await client.put(upload["url"], content=b"1234")).status_code == 503
    assert (await client.put(upload["url"], content=b"1234")).status_code == 204


async def test_an_upload_that_is_given_up_while_it_ends_leaves_no_file(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    upload = await created(client, 4)

    async def given_up_meanwhile() -> AsyncIterator[bytes]:
        yield b"12"
        assert (await client.delete(upload["url"], headers=TUS)).status_code == 204
        yield b"34"

    problem_of(await client.put(upload["url"], content=given_up_meanwhile()), 404, "unknown-upload")
    assert not (settings.data_dir / "files" / upload["file"]["key"]).exists()


async def test_who_gives_up_an_upload_does_not_take_it_from_its_job(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    upload = await created(client, len(photo := image(60, 40)))
    assert (await client.put(upload["url"], content=photo)).status_code == 204
    args = {"file": upload["file"], "sizes": [{"width": 6}]}
    assert (await client.post("/v1/jobs/resize", json=args)).status_code == 202
    assert (await client.delete(upload["url"], headers=TUS)).status_code == 204
    assert (settings.data_dir / "files" / upload["file"]["key"]).read_bytes() == photo


async def test_an_upload_lasts_as_long_as_it_says_whatever_the_clock_of_the_api(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    right_s = time.time
    monkeypatch.setattr("time.time", lambda: right_s() - 10 * 86_400)
    upload = await created(client, 3)
    assert (await client.head(upload["url"], headers=TUS)).status_code == 200


async def test_a_file_is_put_at_once(client: httpx.AsyncClient, settings: Settings) -> None:
    answer = await client.post("/v1/uploads", json={"bytes": 5, "filename": "a.txt"})
    upload = answer.json()
    problem_of(await client.put(upload["url"], content=b"four"), 413, "content-too-large")
    problem_of(await client.put(upload["url"], content=b"sixsix"), 413, "content-too-large")
    assert (await client.put(upload["url"], content=b"right")).status_code == 204
    assert (settings.data_dir / "files" / upload["file"]["key"]).read_bytes() == b"right"
    shown = (await client.get(upload["url"])).json()
    assert (shown["offset"], shown["file"]) == (5, upload["file"])
    assert (await client.delete(upload["url"], headers=TUS)).status_code == 204
    assert not (settings.data_dir / "files" / upload["file"]["key"]).exists()
    problem_of(await client.get(upload["url"]), 404, "unknown-upload")


async def test_uploads_have_limits_and_an_end(client: httpx.AsyncClient, settings: Settings, redis: ArqRedis) -> None:
    limit = settings.direct_upload_limit_bytes
    problem_of(await client.post("/v1/uploads", json={"bytes": limit + 1}), 413, "content-too-large")
    problem_of(await client.post("/v1/uploads"), 422, "invalid-request")
    problem_of(await client.post("/v1/uploads", headers=TUS), 422, "invalid-request")
    other = await client.post("/v1/uploads", headers={"Tus-Resumable": "0.2.2"})
    problem_of(other, 412, "tus-version")
    assert other.headers["tus-version"] == "1.0.0"
    options = await client.options("/v1/uploads")
    assert options.headers["tus-extension"] == "creation,expiration,termination"
    assert options.headers["tus-max-size"] == str(limit)
    upload = await created(client, 4)
    problem_of(await sent(client, upload["url"], 0, b"12345"), 413, "content-too-large")
    problem_of(
        await client.patch(upload["url"], headers={**TUS, "Upload-Offset": "0"}, content=b"1"),
        415,
        "unsupported-media-type",
    )
    (record,) = [key async for key in redis.scan_iter("errand:upload:*")]
    assert 0 < await redis.pttl(record) <= settings.direct_upload_ttl_s * 1000
    await redis.delete(record)
    problem_of(await sent(client, upload["url"], 0, b"1234"), 404, "unknown-upload")
    problem_of(await client.put(upload["url"], content=b"1234"), 404, "unknown-upload")
