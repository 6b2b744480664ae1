"""A job's file: streamed into storage, and gone again where the job is not accepted."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError
from starlette.types import Message

from errand.queue.sender import Sender
from errand.uploads import doubtful
from errand.wire import keys
from settings import Settings
from tests.http.answers_seen import faulty_fields, problem_of, stored_files
from tests.http.requests import forms
from tests.waiting import eventually

MIB = 1024 * 1024
ARGS = forms.part("args", b'{"sizes": [{"width": 10}]}')
FILE = forms.part("file", b"II*\0 the picture", filename="cat.jpg", headers={"Content-Type": "image/jpeg"})


async def post(client: httpx.AsyncClient, content: Any) -> httpx.Response:
    return await client.post("/v1/jobs/resize", content=content, headers=forms.HEADERS)


@pytest.mark.parametrize("parts", [(ARGS, FILE), (FILE, ARGS)], ids=["args first", "file first"])
async def test_a_file_is_stored_and_named_in_the_args(
    client: httpx.AsyncClient, settings: Settings, parts: tuple[bytes, ...]
) -> None:
    answer = await post(client, forms.form(*parts))
    assert answer.status_code == 202
    file = answer.json()["args"]["file"]
    assert (file["bytes"], file["filename"]) == (len(b"II*\0 the picture"), "cat.jpg")
    assert stored_files(settings.data_dir) == [file["key"]]
    assert (settings.data_dir / "files" / file["key"]).read_bytes() == b"II*\0 the picture"
    assert (await client.get(answer.headers["location"])).json()["args"] == answer.json()["args"]


async def test_a_file_named_in_the_args_by_the_client_is_not_the_one_that_is_used(client: httpx.AsyncClient) -> None:
    other = "uploads/00000000-0000-0000-0000-000000000000"
    args = {"sizes": [{"width": 10}], "file": {"key": other, "bytes": 1}}
    answer = await post(client, forms.form(forms.part("args", json.dumps(args).encode()), FILE))
    assert answer.json()["args"]["file"]["key"] != other


async def test_a_long_or_odd_file_name_is_cut_not_refused(client: httpx.AsyncClient) -> None:
    odd = forms.part("file", b"II*\0", filename="../" + "é" * 300)
    answer = await post(client, forms.form(ARGS, odd))
    assert answer.json()["args"]["file"]["filename"] == ("../" + "é" * 300)[:255]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (forms.form(ARGS), ["body.file"]),
        (forms.form(), ["body.file"]),
        (forms.form(FILE), ["body.sizes"]),
        (forms.form(FILE, ARGS, FILE), ["body.file"]),
        (forms.form(ARGS, ARGS, FILE), ["body.args"]),
        (forms.form(FILE, ARGS, forms.part("colour", b"red")), ["body.colour"]),
        (forms.form(FILE, forms.part("args", b"{")), ["body.args"]),
        (forms.form(FILE, forms.part("args", b'"\\ud800"')), ["body.args"]),
        (forms.form(FILE, forms.part("args", b"[]")), ["body.args"]),
        (forms.form(FILE, forms.part("args", b'{"sizes": []}')), ["body.sizes"]),
        (forms.form(FILE, forms.part("args", b'{"sizes": [{"width": 10, "fit": "x"}]}')), ["body.sizes.0.fit"]),
        (forms.form(FILE, forms.part("args", b'{"sizes": [{"width": 1}], "source_url": "http://e.com"}')), ["body"]),
    ],
    ids=[
        *("no file", "no part", "no args", "two files", "two args", "unknown part", "broken args", "half a surrogate"),
        *("a list", "no sizes", "wrong fit", "two sources"),
    ],
)
async def test_a_wrong_form_is_refused_and_its_file_deleted(
    client: httpx.AsyncClient, settings: Settings, redis: ArqRedis, body: bytes, fields: list[str]
) -> None:
    assert faulty_fields(await post(client, body)) == fields
    assert (stored_files(settings.data_dir), await redis.dbsize()) == ([], 0)


@pytest.mark.parametrize("file", [FILE, forms.part("file", bytes(12 * MIB))], ids=["small", "in several parts"])
@pytest.mark.parametrize("cut_bytes", [len(forms.END), len(forms.END) + 5])
async def test_a_body_that_ends_too_early_leaves_nothing(
    client: httpx.AsyncClient, settings: Settings, redis: ArqRedis, file: bytes, cut_bytes: int
) -> None:
    problem_of(await post(client, forms.form(ARGS, file)[:-cut_bytes]), 422, "invalid-request")
    assert (stored_files(settings.data_dir), await redis.dbsize()) == ([], 0)


async def test_a_client_that_hangs_up_leaves_nothing_and_is_no_fault_of_the_service(
    client: httpx.AsyncClient, settings: Settings, redis: ArqRedis
) -> None:
    incoming: list[Message] = [
        {"type": "http.request", "body": forms.form(ARGS, FILE)[:-20], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    app = client._transport.app  # type: ignore[attr-defined]
    headers = [(b"host", b"127.0.0.1"), (b"content-type", forms.HEADERS["Content-Type"].encode())]
    place = {"method": "POST", "path": "/v1/jobs/resize", "raw_path": b"/v1/jobs/resize", "query_string": b""}
    scope = {"type": "http", "http_version": "1.1", "scheme": "http", "headers": headers, "server": None, **place}
    await app(scope, receive, send)  # a fault would be raised here, for the log
    assert sent[0]["status"] == 400
    assert (stored_files(settings.data_dir), await redis.dbsize()) == ([], 0)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the process's memory from /proc")
async def test_an_upload_is_never_held_whole_in_memory(client: httpx.AsyncClient, settings: Settings) -> None:
    size_bytes, most_bytes = 60 * MIB, 0

    def resident_bytes() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def body() -> AsyncIterator[bytes]:
        nonlocal most_bytes
        yield ARGS + FILE[: -len(b" the picture\r\n")]
        for _ in range(size_bytes // 65_536):
            yield os.urandom(65_536)
            most_bytes = max(most_bytes, resident_bytes())
        yield b"\r\n" + forms.END

    before_bytes = resident_bytes()
    answer = await post(client, body())
    assert answer.json()["args"]["file"]["bytes"] == len(b"II*\0") + size_bytes
    assert most_bytes - before_bytes < size_bytes / 2


async def test_a_storage_that_takes_nothing_is_a_503_that_says_when_to_try_again(
    client: httpx.AsyncClient, settings: Settings, redis: ArqRedis
) -> None:
    """As on a disk that is full or read-only; here a file is where the folder should be."""
    (settings.data_dir / "files" / "uploads").write_text("in the way")
    answer = await post(client, forms.form(ARGS, FILE))
    problem_of(answer, 503, "storage-unavailable")
    assert answer.headers["retry-after"] == "10"
    assert await redis.keys("arq:job:*") == []


async def test_a_file_stays_if_the_answer_of_redis_is_lost_and_its_job_is_there(
    client: httpx.AsyncClient, redis: ArqRedis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, keyed = Sender.send, {**forms.HEADERS, "Idempotency-Key": "once"}

    async def unheard(*given: Any) -> None:
        await put(*given)
        raise ConnectionError("the answer was lost")

    monkeypatch.setattr(doubtful, "SETTLED_AFTER_S", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(Sender, "send", unheard)
        lost = await client.post("/v1/jobs/resize", content=forms.form(ARGS, FILE), headers=keyed)
    assert lost.status_code == 503
    again = await client.post("/v1/jobs/resize", content=forms.form(ARGS, FILE), headers=keyed)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
    key = again.json()["args"]["file"]["key"]
    assert stored_files(settings.data_dir) == [key]

    async def noted() -> bool:
        return bool(await redis.exists(keys.upload_jobs(key)))

    await eventually(noted)
    assert stored_files(settings.data_dir) == [key]
