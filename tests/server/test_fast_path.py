"""The fast path answers as the whole way does, and leaves to that what it does not take on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from redis.exceptions import ResponseError
from starlette.types import Message, Receive, Scope, Send

from errand.http.answers import problems
from errand.http.api import create_api
from errand.http.gates.answer_headers import MORE
from errand.http.routes.enqueue_route import Endpoint, fast_endpoints
from errand.server.fast_path import FastPath
from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.http.answers_seen import LETTER

PATH = "/v1/jobs/welcome_email"
KEY = "k" * 24
JSON = {"content-type": "application/json"}
GOOD = json.dumps(LETTER).encode()
CHANGES = (
    "id",
    "self",
    "wait",
    "cancel",
    "reschedule",
    "enqueued_at",
    "run_at",
    "finished_at",
    "planned_attempts",
    "gives_up_at",
)
"""What no two jobs have in common."""


async def unannounced(body: bytes) -> AsyncIterator[bytes]:
    """Sent in chunks, it announces no length, which is not for the fast path."""
    yield body


def shape_of(answer: httpx.Response) -> tuple[int, list[tuple[str, str]], Any]:
    """What two answers to the same request have in common."""
    headers = sorted(
        (name, value) for name, value in answer.headers.multi_items() if name not in ("location", "content-length")
    )
    body = answer.json()
    for place in (body, body.get("links", {})):
        place.update({name: "…" for name in CHANGES if name in place})
    return answer.status_code, headers, body


@pytest.fixture
async def client(open_client: OpenClient, tmp_path: Path, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """With keys and a rate limit, whose headers are left to the answer."""
    guards = {"api_keys": f"{KEY},{'r' * 24}:read", "rate_limit": "1000/h"}
    async with open_client(make_settings(tmp_path, redis_url=redis_url, **guards)) as client:
        yield client


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (202, GOOD, JSON),
        (202, GOOD, {**JSON, "idempotency-key": "fresh"}),
        (202, GOOD, {"content-type": "application/merge-patch+json"}),
        (400, GOOD, {**JSON, "idempotency-key": ""}),
        (401, GOOD, {**JSON, "authorization": "Bearer of no key"}),
        (403, GOOD, {**JSON, "authorization": f"Bearer {'r' * 24}"}),
        (422, GOOD, {"content-type": "text/plain"}),
        (422, GOOD[:-1], JSON),
        (422, b"", JSON),
        (422, b"[]", JSON),
        (422, b'{"to": "nobody", "name": 1, "more": 2}', JSON),
    ],
)
async def test_both_ways_give_the_same_answer(
    client: httpx.AsyncClient, status: int, body: bytes, headers: dict[str, str]
) -> None:
    headers = {"authorization": f"Bearer {KEY}", **headers}
    answers: list[tuple[int, list[tuple[str, str]], Any]] = []
    for content in (body, unannounced(body)):
        own = {"idempotency-key": f"number {len(answers)}"} if "idempotency-key" in headers and status == 202 else {}
        answer = await client.post(PATH, content=content, headers=headers | own)
        assert answer.status_code == status, answer.text
        limits = answer.headers.pop("ratelimit", None), answer.headers.pop("ratelimit-policy", None)
        assert all(limits) == (status not in (401, 403)), "counted, and said so, on either way"
        answers.append(shape_of(answer))
    assert answers[0] == answers[1]


async def test_a_request_that_was_sent_again_is_answered_alike_on_both_ways(client: httpx.AsyncClient) -> None:
    headers = {"authorization": f"Bearer {KEY}", **JSON, "idempotency-key": "again"}
    first = await client.post(PATH, content=GOOD, headers=headers)
    for content in (GOOD, unannounced(GOOD)):
        again = await client.post(PATH, content=content, headers=headers)
        assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
        assert (again.json(), again.headers["location"]) == (first.json(), first.headers["location"])


class Whole(FastAPI):
    """Stands where the whole app is, answers errors as it does, and notes the requests that reach it."""

    def __init__(self) -> None:
        super().__init__()
        problems.install(self)
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 299, "headers": []})


async def echo(request: Request) -> Response:
    request.scope[MORE].append((b"x-more", b"1"))
    return Response(await request.body() + await request.body(), status_code=202)


async def fail(request: Request) -> Response:
    raise LookupError("on purpose")


async def refuse(request: Request) -> Response:
    raise ResponseError("WRONGTYPE on purpose")


async def run(
    path: str = "/echo", *, method: str = "POST", query: bytes = b"", length: bytes | None = b"4", pieces: Sequence[Any]
) -> tuple[list[Message], Whole]:
    """What is sent for a request whose body comes in these pieces; None is a client that hangs up."""
    whole, sent, coming = Whole(), [], iter(pieces)

    async def receive() -> Message:
        piece = next(coming)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", length)] if length is not None else []
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": headers}
    app = FastPath(whole, endpoints={"/echo": echo}, limit_bytes=4)
    await app(scope, receive, send)
    return sent, whole


async def test_a_usual_request_does_not_go_the_whole_way() -> None:
    for pieces in ([b"abcd"], [b"ab", b"", b"cd"]):
        (start, body), whole = await run(pieces=pieces)
        assert (start["status"], body["body"], whole.scopes) == (202, b"abcdabcd", [])
        assert (b"x-more", b"1") in start["headers"] and (b"cache-control", b"no-store") in start["headers"]


@pytest.mark.parametrize(
    "unusual",
    [
        {"path": "/other"},
        {"path": "/echo/"},
        {"method": "GET"},
        {"method": "OPTIONS"},
        {"query": b"delay=5"},
        {"length": None},
        {"length": b"5"},
        {"length": b"-1"},
        {"length": b"\xb2"},
    ],
)
async def test_an_unusual_request_goes_the_whole_way_untouched(unusual: dict[str, Any]) -> None:
    (start,), whole = await run(**unusual, pieces=[])
    assert start["status"] == 299 and len(whole.scopes) == 1


async def test_an_error_is_answered_as_the_app_answers_it() -> None:
    (start, body), whole = await run("/echo", pieces=[b"ab", None])
    assert (start["status"], json.loads(body["body"])["type"], whole.scopes) == (400, "/problems/bad-request", [])
    assert (b"cache-control", b"no-store") in start["headers"]


@pytest.mark.parametrize(
    ("endpoint", "error"), [(fail, LookupError), (refuse, ResponseError)], ids=["no handler", "its handler passes"]
)
async def test_a_fault_of_the_service_is_answered_and_raised_for_the_server_to_log(
    endpoint: Endpoint, error: type[Exception]
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", b"0")]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    with pytest.raises(error, match="on purpose"):
        await FastPath(Whole(), endpoints={"/": endpoint}, limit_bytes=4)(scope, receive, send)
    assert sent[0]["status"] == 500 and b"on purpose" not in sent[1]["body"]


def test_each_job_type_that_takes_json_alone_has_a_fast_path(settings: Settings) -> None:
    fast = fast_endpoints(create_api(settings, redis_url="redis://localhost"))
    assert {"/v1/jobs/welcome_email", "/v1/jobs/webhook"} <= set(fast)
    assert "/v1/jobs/resize" not in fast, "its files are streamed"
