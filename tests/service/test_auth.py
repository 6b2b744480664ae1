"""Keys with scopes; without keys this machine alone, and no web page that its browser happens to show."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.service.answers import LETTER, problem_of

READER, WRITER, OWNER = "reader-0123456789", "writer-0123456789", "owner-01234567890"
OPEN_PATHS = {"/healthz", "/readyz", "/docs", "/redoc", "/openapi.json"}


@pytest.fixture
def guarded(tmp_path: Path, redis_url: str) -> Settings:
    return make_settings(tmp_path, redis_url=redis_url, api_keys=f"{READER}:read,{WRITER}:write,{OWNER}")


@pytest.fixture
async def guarded_client(open_client: OpenClient, guarded: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The service as others on the network see it, where it has keys."""
    async with open_client(guarded, client=("203.0.113.7", 50_000)) as client:
        client.base_url = httpx.URL("https://errand.example")
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def operations_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """(method, path) of every route that the app has, those outside its document included."""
    for entry in app.routes:
        included = getattr(entry, "original_router", None)
        for route in included.routes if included is not None else [entry]:
            for method in cast(Any, route).methods - {"HEAD"}:
                yield method, cast(Any, route).path


def test_the_walk_over_all_routes_finds_what_the_document_lists(guarded: Settings) -> None:
    app = create_app(guarded, redis_url="unix:///nowhere")
    documented = {
        (method.upper(), path) for path, operations in app.openapi()["paths"].items() for method in operations
    }
    found = {(method, path.replace(":path", "")) for method, path in operations_of(app)}
    assert documented < found
    assert {path for _, path in found} > OPEN_PATHS


async def test_every_route_but_health_and_documentation_needs_a_key_with_its_scope(
    guarded_client: httpx.AsyncClient, guarded: Settings
) -> None:
    app = create_app(guarded, redis_url="unix:///nowhere")
    closed = [(method, path) for method, path in operations_of(app) if path not in OPEN_PATHS]
    for method, path in closed:
        place = path.replace("{key:path}", "x").replace("{id}", "x").replace("{type}", "fax")
        for headers in ({}, bearer("wrong-key-0123456"), {"Authorization": f"Basic {OWNER}"}, bearer("")):
            answer = await guarded_client.request(method, place, headers=headers)
            problem_of(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
        scope, unfit = ("read", WRITER) if method == "GET" else ("write", READER)
        if path.startswith("/v1/queues/") and method == "POST":
            scope, unfit = "admin", WRITER
        details = problem_of(await guarded_client.request(method, place, headers=bearer(unfit)), 403, "forbidden")
        assert f"'{scope}'" in details["detail"]


@pytest.mark.parametrize("path", sorted(OPEN_PATHS - {"/readyz"}))
async def test_health_and_documentation_are_open(guarded_client: httpx.AsyncClient, path: str) -> None:
    assert (await guarded_client.get(path)).status_code == 200


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


async def test_with_keys_pages_and_names_of_any_kind_are_the_keys_own_matter(
    guarded_client: httpx.AsyncClient,
) -> None:
    headers = {**bearer(OWNER), "Origin": "https://app.example"}
    assert (await guarded_client.get("/v1/job-types", headers=headers)).status_code == 200
