"""Keys with scopes; without keys this machine alone, and no web page that its browser happens to show."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import WebSocketRoute
from starlette.types import Message, Receive, Scope, Send

from errand.http.api import create_api
from errand.http.gates import auth
from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.http.answers_seen import LETTER, problem_of

READER, WRITER, OWNER = "reader-0123456789", "writer-0123456789", "owner-01234567890"
ADMIN = "admin-01234567890"
SCOPED = {"read": READER, "write": WRITER, "admin": ADMIN}
LOOKS = {"/v1/email-previews", "/v1/file-urls", "/dashboard/sign-out"}
"""POST there changes nothing."""


SIGNED = {
    "/v1/images/{signature}/{preset}/{source:path}",
    "/v1/email-events/mailgun",
    "/v1/email-events/postmark",
    "/v1/email-events/ses",
}
"""No key opens them: a signature does, or a password of their own."""


BY_LINK = "/portal/webhooks"
"""Each page is opened by a signed link, which no key stands in for."""


BY_TOKEN = "/v1/uploads/{token}"
"""The path itself is the permission; with any other token nothing is there, for nobody."""


OPEN_PATHS = {"/healthz", "/readyz", "/problems/{kind}"}
OPEN = {
    *(("GET", path) for path in OPEN_PATHS),
    ("GET", "/dashboard/static/{digest}/{name}"),
    ("POST", "/dashboard/sign-in"),
    ("POST", "/dashboard/theme"),
}
"""What needs no key: who signs in has not shown one yet."""


PAGES = {"/docs", "/redoc", "/openapi.json"}
"""For who may read, and for browsers, which send a key as a password."""


@pytest.fixture
def guarded(tmp_path: Path, redis_url: str) -> Settings:
    return make_settings(
        tmp_path,
        redis_url=redis_url,
        api_keys=f"{READER}:read,{WRITER}:write,{ADMIN}:admin,{OWNER}",
        mailgun_signing_key="key-0123456789",
        postmark_webhook_password="pass-0123456789",
        ses_topic_arn="arn:aws:sns:eu-west-1:123456789012:mail",
        # each route is asked with wrong keys
        refusal_limit="10000/s",
    )


@pytest.fixture
async def guarded_client(open_client: OpenClient, guarded: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The service as others on the network see it, where it has keys."""
    async with open_client(guarded, client=("203.0.113.7", 50_000)) as client:
        client.base_url = httpx.URL("https://errand.example")
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


STRANGERS: list[dict[str, str]] = [
    {},
    bearer("wrong-key-0123456"),
    {"Authorization": f"Basic {OWNER}"},
    bearer(""),
]


def operations_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """(method, path) of every route, of included routers and outside the document as well."""
    for route in iter_route_contexts(app.routes):
        # a mounted app or a websocket has no methods
        for method in (route.methods or {"ANY"}) - {"HEAD"}:
            yield method, str(route.path)


async def passes(client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str]) -> int | None:
    """None where that request gets past the guard, else the status it is refused with."""
    place = re.sub(r"{[^}]*}", "x", path)
    body: dict[str, Any] | None = {} if path in SIGNED else None
    status = (await client.request(method, place, headers=headers, json=body)).status_code
    return status if status in (401, 403) else None


async def unguarded(app: FastAPI, client: httpx.AsyncClient) -> set[str]:
    """Every operation that is not in the list of open ones and lets through whom it should not."""
    faulty = set()
    for method, path in operations_of(app):
        if path == BY_TOKEN or (method, path) in OPEN:
            continue
        refused = [await passes(client, method, path, headers) for headers in STRANGERS]
        by_scope = {scope: await passes(client, method, path, bearer(key)) for scope, key in SCOPED.items()}
        let_in = [scope for scope, status in by_scope.items() if status is None]
        needs = ["read"] if method == "GET" or path in LOOKS else ["write"], ["admin"]
        if path in SIGNED or path.startswith(BY_LINK):
            faulty |= {f"{method} {path}"} if None in (*refused, *by_scope.values()) else set()
        elif refused != [401] * 4 or let_in not in needs or sorted(filter(None, by_scope.values())) != [403, 403]:
            faulty.add(f"{method} {path}")
    return faulty


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The app itself, as others on the network see it; of a stream without an end they read the head alone."""

    async def up_to_a_streams_head(scope: Scope, receive: Receive, send: Send) -> None:
        has_left = False

        async def pass_on(message: Message) -> None:
            nonlocal has_left
            await send(message)
            if dict(message.get("headers", ())).get(b"content-type", b"").startswith(b"text/event-stream"):
                has_left = True
                await send({"type": "http.response.body"})
                raise OSError("the client has left")

        try:
            await app(scope, receive, pass_on)
        except Exception:
            if not has_left:
                raise

    transport = httpx.ASGITransport(
        app=up_to_a_streams_head, raise_app_exceptions=False, client=("203.0.113.7", 50_000)
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="https://errand.example") as client,
    ):
        yield client


def test_the_walk_over_all_routes_finds_what_the_document_lists(guarded: Settings) -> None:
    app = create_api(guarded, redis_url="unix:///nowhere")
    documented = {
        (method.upper(), path) for path, operations in app.openapi()["paths"].items() for method in operations
    }
    found = {(method, path.replace(":path", "")) for method, path in operations_of(app)}
    assert documented < found
    assert {path for _, path in found} > OPEN_PATHS | PAGES


async def test_every_route_but_health_needs_a_key_with_its_scope(
    guarded: Settings, redis: ArqRedis, redis_url: str
) -> None:
    app = create_api(guarded, redis_url=redis_url)
    async with serving(app) as client:
        assert await unguarded(app, client) == set()


async def test_a_new_route_that_somebody_forgot_to_guard_is_found(
    guarded: Settings, redis: ArqRedis, redis_url: str
) -> None:
    app = create_api(guarded, redis_url=redis_url)
    inner, outer = APIRouter(prefix="/inner"), APIRouter(prefix="/outer")

    async def forgotten() -> str:
        return "secret"

    app.add_api_route("/v1/direct", forgotten)
    app.add_api_route("/v1/hidden/{id}", forgotten, methods=["DELETE"], include_in_schema=False)
    reading = [Depends(auth.require("read"))]
    app.add_api_route("/v1/written-by-readers", forgotten, methods=["PUT"], dependencies=reading)
    app.add_api_route("/v1/guarded", forgotten, dependencies=reading)
    app.add_api_route("/healthz", forgotten, methods=["PUT"])
    inner.add_api_route("/deep", forgotten)
    outer.include_router(inner)
    app.include_router(outer)
    app.mount("/mounted", FastAPI())
    app.router.routes.append(WebSocketRoute("/socket", forgotten))
    async with serving(app) as client:
        assert await unguarded(app, client) == {
            *("GET /v1/direct", "DELETE /v1/hidden/{id}", "PUT /v1/written-by-readers", "PUT /healthz"),
            *("GET /outer/inner/deep", "ANY /mounted", "ANY /socket"),
        }


async def test_a_refusal_says_what_to_send_or_what_is_missing(guarded_client: httpx.AsyncClient) -> None:
    for headers in STRANGERS:
        answer = await guarded_client.get("/v1/job-types", headers=headers)
        assert "Bearer <key>" in problem_of(answer, 401, "unauthorized")["detail"]
        assert answer.headers["www-authenticate"] == "Bearer"
    for method, path, unfit, scope in (
        ("GET", "/v1/job-types", WRITER, "read"),
        ("POST", "/v1/jobs/welcome_email", READER, "write"),
        ("POST", "/v1/queues/default/pause", WRITER, "admin"),
    ):
        refused = await guarded_client.request(method, path, headers=bearer(unfit))
        assert f"'{scope}'" in problem_of(refused, 403, "forbidden")["detail"]


async def test_health_is_open(guarded_client: httpx.AsyncClient) -> None:
    assert (await guarded_client.get("/healthz")).status_code == 200


def basic(key: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'any:{key}'.encode()).decode()}"}


@pytest.mark.parametrize("path", sorted(PAGES))
async def test_a_browser_is_asked_for_a_key_and_sends_it_as_a_password(
    guarded_client: httpx.AsyncClient, path: str
) -> None:
    beyond_ascii = {"Authorization": "Basic é".encode("latin-1")}
    odd: list[Any] = [{"Authorization": "Basic ***"}, {"Authorization": "Basic /w=="}, beyond_ascii]
    for wrong in ({}, basic("wrong-key-0123456"), *odd):
        asked = await guarded_client.get(path, headers=wrong)
        problem_of(asked, 401, "unauthorized")
        assert asked.headers["www-authenticate"].startswith("Basic ")
    for right in (basic(READER), bearer(READER)):
        assert (await guarded_client.get(path, headers=right)).status_code == 200
    problem_of(await guarded_client.get(path, headers=basic(WRITER)), 403, "forbidden")


async def test_a_password_opens_nothing_else(guarded_client: httpx.AsyncClient) -> None:
    """A browser would send it by itself, for any page that asks it to."""
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs/welcome_email")):
        problem_of(await guarded_client.request(method, path, headers=basic(OWNER)), 401, "unauthorized")


async def test_a_key_without_read_sees_that_a_job_is_there_and_how_it_stands(
    guarded_client: httpx.AsyncClient, redis: ArqRedis
) -> None:
    """Whatever it meets: a job of another's under its unique key, one that it waits for or acts on, a schedule."""
    path, query = "/v1/jobs/welcome_email?delay=1h", "&unique_key=u"
    other = (await guarded_client.post(f"{path}{query}", json=LETTER, headers=bearer(OWNER))).json()
    schedule = {"type": "welcome_email", "args": LETTER, "cron": "0 0 1 1 *"}
    await guarded_client.put("/v1/schedules/yearly", json=schedule, headers=bearer(OWNER))
    own = {"to": "own@example.com", "name": "Own"}
    me = {**bearer(WRITER), "Prefer": "wait=1"}
    place = f"/v1/jobs/{other['id']}"
    answers = [
        await guarded_client.post(f"{path}{query}", json=own, headers=me),
        await guarded_client.post(f"{place}/reschedule?delay=2h", headers=me),
        await guarded_client.post(f"{place}/cancel", headers=me),
        await guarded_client.post(f"{place}/retry", headers=me),
        await guarded_client.post("/v1/schedules/yearly/pause", headers=me),
        await guarded_client.post("/v1/schedules/yearly/trigger", headers=me),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 202, 200, 202]
    for answer in answers:
        assert "ada@example.com" not in answer.text and answer.json()["args"] == {}
    assert (answers[0].json()["id"], answers[0].json()["status"]) == (other["id"], "deferred")
    seen = await guarded_client.post(f"{path}{query}", json=own, headers=bearer(OWNER))
    assert seen.json()["args"] == LETTER


async def test_a_key_does_what_its_scopes_say_and_no_more(guarded_client: httpx.AsyncClient) -> None:
    for writer in (WRITER, OWNER):
        put = await guarded_client.post("/v1/jobs/welcome_email", json=LETTER, headers=bearer(writer))
        assert put.status_code == 202
        for reader in (READER, OWNER):
            assert (await guarded_client.get(put.headers["location"], headers=bearer(reader))).status_code == 200
    problem_of(await guarded_client.get(put.headers["location"], headers=bearer(WRITER)), 403, "forbidden")


async def test_a_key_with_other_than_ascii_letters_cannot_break_the_comparison(
    guarded_client: httpx.AsyncClient,
) -> None:
    headers = [(b"authorization", "Bearer schlüssel-0123456789".encode())]
    problem_of(await guarded_client.get("/v1/job-types", headers=headers), 401, "unauthorized")


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:8000"},
        {"Host": "[::1]:8000"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1:8000"},
    ],
)
async def test_without_keys_this_machine_is_served(open_client: OpenClient, peer: str, headers: dict[str, str]) -> None:
    async with open_client(client=(peer, 50_000)) as client:
        assert (await client.get("/v1/job-types", headers=headers)).status_code == 200


@pytest.mark.parametrize("peer", ["192.168.1.7", "203.0.113.7", "fe80::1", "::ffff:10.0.0.1"])
async def test_without_keys_no_other_machine_is_served(open_client: OpenClient, peer: str) -> None:
    async with open_client(client=(peer, 50_000)) as client:
        problem_of(await client.get("/v1/job-types"), 403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},  # a page's own name that now resolves to 127.0.0.1
        {"Host": "rebound.example:8000"},
        {"Host": "127.0.0.1.rebound.example"},
        {"Host": "re_bound.example"},
        {"Host": "rebound.example:99999"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "https://localhost.evil.example"},
        {"Origin": "http://127.0.0.1:8000.evil.example"},
        {"Host": "127.0.0.1:8000.rebound.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": ""},
    ],
)
async def test_without_keys_no_page_from_elsewhere_gets_through(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    problem_of(await client.get("/v1/job-types", headers=headers), 403, "forbidden")
    problem_of(await client.post("/v1/jobs/welcome_email", json=LETTER, headers=headers), 403, "forbidden")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_without_keys_what_a_proxy_on_this_machine_passes_on_is_refused(
    client: httpx.AsyncClient, name: str
) -> None:
    for value in ("203.0.113.7", "127.0.0.1", ""):
        problem_of(await client.get("/v1/job-types", headers={name: value}), 403, "forbidden")


async def test_with_keys_pages_and_names_of_any_kind_are_the_keys_own_matter(
    guarded_client: httpx.AsyncClient,
) -> None:
    headers = {**bearer(OWNER), "Origin": "https://app.example"}
    assert (await guarded_client.get("/v1/job-types", headers=headers)).status_code == 200
