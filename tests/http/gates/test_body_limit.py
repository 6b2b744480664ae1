"""Bodies over the limit are refused before they fill memory or disk, announced or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from arq.connections import ArqRedis
from starlette.types import Message, Receive, Scope, Send

from errand.http.answers.problems import BodyTooLarge
from errand.http.gates.body_limit import BodyLimit
from tests.conftest import OpenClient, make_settings
from tests.http.answers_seen import problem_of, stored_files
from tests.http.requests import forms
from tests.pictures import image

JSON_LIMIT_BYTES, UPLOAD_LIMIT_BYTES = 1_000, 6_000_000
ARGS = forms.part("args", b'{"sizes": [{"width": 10}]}')


@pytest.fixture
async def limited_client(open_client: OpenClient, tmp_path: Path, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = {"body_limit_bytes": JSON_LIMIT_BYTES, "upload_limit_bytes": UPLOAD_LIMIT_BYTES}
    async with open_client(make_settings(tmp_path, redis_url=redis_url, **limits)) as client:
        yield client


async def in_chunks(body: bytes, pulled: list[int] | None = None) -> AsyncIterator[bytes]:
    """A body that announces no length; `pulled` notes how much of it was taken."""
    for start in range(0, len(body), 65_536):
        chunk = body[start : start + 65_536]
        if pulled is not None:
            pulled.append(len(chunk))
        yield chunk


def letter_of(size_bytes: int) -> bytes:
    """Args of `welcome_email` that are exactly so long."""
    args = b'{"to": "ada@example.com", "name": "Ada"}'
    return args + b" " * (size_bytes - len(args))


@pytest.mark.parametrize(
    ("path", "announced"),
    [
        ("/v1/jobs/welcome_email", True),
        ("/v1/jobs/welcome_email", False),
        ("/v1/jobs/resize", True),
        ("/v1/jobs/resize", False),
        ("/nowhere", True),
    ],
)
async def test_json_over_the_limit_is_refused(
    limited_client: httpx.AsyncClient, redis: ArqRedis, path: str, announced: bool
) -> None:
    body = letter_of(JSON_LIMIT_BYTES + 1)
    headers = {"Content-Type": "application/json"}
    answer = await limited_client.post(path, content=body if announced else in_chunks(body), headers=headers)
    details = problem_of(answer, 413, "content-too-large")
    assert str(JSON_LIMIT_BYTES) in details["detail"]
    assert answer.headers["connection"] == "close"  # the rest of the body is not going to be read
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("announced", [True, False])
async def test_json_up_to_the_limit_is_taken(limited_client: httpx.AsyncClient, announced: bool) -> None:
    body = letter_of(JSON_LIMIT_BYTES)
    headers = {"Content-Type": "application/json"}
    answer = await limited_client.post(
        "/v1/jobs/welcome_email", content=body if announced else in_chunks(body), headers=headers
    )
    assert answer.status_code == 202


@pytest.mark.parametrize("announced", [True, False])
async def test_an_upload_over_the_limit_leaves_nothing(
    limited_client: httpx.AsyncClient, redis: ArqRedis, tmp_path: Path, announced: bool
) -> None:
    body = forms.form(ARGS, forms.part("file", bytes(2 * UPLOAD_LIMIT_BYTES)))
    pulled: list[int] = []
    content = body if announced else in_chunks(body, pulled)
    answer = await limited_client.post("/v1/jobs/resize", content=content, headers=forms.HEADERS)
    problem_of(answer, 413, "content-too-large")
    assert answer.headers["connection"] == "close"
    assert sum(pulled) < 1.1 * UPLOAD_LIMIT_BYTES
    assert (stored_files(tmp_path), await redis.dbsize()) == ([], 0)


@pytest.mark.parametrize("announced", [True, False])
async def test_an_upload_up_to_the_limit_is_taken_though_json_so_long_is_not(
    limited_client: httpx.AsyncClient, tmp_path: Path, announced: bool
) -> None:
    picture = image(20, 10)
    body = forms.form(ARGS, forms.part("file", picture + bytes(UPLOAD_LIMIT_BYTES - len(picture))))
    content = body if announced else in_chunks(body)
    answer = await limited_client.post("/v1/jobs/resize", content=content, headers=forms.HEADERS)
    assert answer.status_code == 202
    assert len(stored_files(tmp_path)) == 1


async def test_a_form_for_a_type_without_files_has_the_limit_of_json(limited_client: httpx.AsyncClient) -> None:
    body = forms.form(forms.part("args", letter_of(JSON_LIMIT_BYTES)))
    answer = await limited_client.post("/v1/jobs/welcome_email", content=body, headers=forms.HEADERS)
    problem_of(answer, 413, "content-too-large")


async def test_the_args_of_an_upload_have_a_limit_of_their_own(
    limited_client: httpx.AsyncClient, tmp_path: Path
) -> None:
    body = forms.form(forms.part("file", b"abc"), forms.part("args", b" " * 70_000))
    answer = await limited_client.post("/v1/jobs/resize", content=body, headers=forms.HEADERS)
    details = problem_of(answer, 413, "content-too-large")
    assert "'args'" in details["detail"]
    assert stored_files(tmp_path) == []


async def test_of_two_content_types_the_first_counts(limited_client: httpx.AsyncClient) -> None:
    headers = [("Content-Type", "application/json"), ("Content-Type", "multipart/form-data; boundary=x")]
    answer = await limited_client.post("/v1/jobs/resize", content=letter_of(JSON_LIMIT_BYTES + 1), headers=headers)
    problem_of(answer, 413, "content-too-large")


@pytest.mark.parametrize("is_answered", [False, True])
async def test_who_sends_too_much_behind_the_start_of_an_answer_counts_as_gone(is_answered: bool) -> None:
    """No error can be answered any more, and what listens for the end of a stream has to hear of one."""
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if is_answered:
            await send({"type": "http.response.start", "status": 200})
        heard.append(await receive())

    async def receive() -> Message:
        return {"type": "http.request", "body": b"12", "more_body": True}

    async def send(message: Message) -> None: ...

    asked = BodyLimit(app, limit_of=lambda path, content_type: 1)(
        {"type": "http", "path": "/", "root_path": "", "headers": []}, receive, send
    )
    if is_answered:
        await asked
        assert heard == [{"type": "http.disconnect"}]
    else:
        with pytest.raises(BodyTooLarge):
            await asked
