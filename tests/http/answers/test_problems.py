"""Whatever goes wrong is problem details: an unknown path, a fault of the service, a Redis that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from errand.queue.enqueue_script import EnqueueScript
from settings import Settings
from tests.conftest import OpenClient
from tests.http.answers_seen import LETTER, problem_of, stored_files
from tests.http.requests import forms
from tests.redis_servers import RedisServer

UPLOAD = forms.form(forms.part("args", b'{"sizes": [{"width": 10}]}'), forms.part("file", b"II*\0 the picture"))
NEED_REDIS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/jobs/welcome_email", {"json": LETTER}),
    ("POST", "/v1/jobs/welcome_email?delay=5", {"json": LETTER}),
    ("POST", "/v1/jobs/webhook", {"json": {"url": "https://e.example/", "event": "a", "data": 1}}),
    ("POST", "/v1/jobs/welcome_email/batch", {"json": [LETTER, LETTER]}),
    ("POST", "/v1/jobs/resize", {"content": UPLOAD, "headers": forms.HEADERS}),
    ("GET", "/v1/jobs/x", {}),
    ("GET", "/v1/jobs/x?wait=30", {}),
    ("POST", "/v1/jobs/x/cancel", {}),
    ("POST", "/v1/jobs/x/retry", {}),
    ("DELETE", "/v1/jobs/x", {}),
    ("GET", "/v1/dead-jobs", {}),
    ("GET", "/v1/dead-jobs?type=webhook", {}),
    ("GET", "/v1/dead-jobs/groups", {}),
    ("POST", "/v1/dead-jobs/replay", {"json": {"type": "webhook"}}),
    ("POST", "/v1/dead-jobs/replay", {"json": {"type": "webhook", "dry_run": True}}),
    ("GET", "/readyz", {}),
]


@asynccontextmanager
async def absent(path: Path) -> AsyncIterator[None]:
    """Nobody listens there."""
    yield


@asynccontextmanager
async def silent(path: Path) -> AsyncIterator[None]:
    """Takes every connection and never says a word."""
    taken: list[asyncio.StreamWriter] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    server = await asyncio.start_unix_server(take, path)
    try:
        yield
    finally:
        server.close()
        for writer in taken:
            writer.close()


@pytest.mark.usefixtures("usual_limits")
@pytest.mark.parametrize("redis_like", [absent, silent])
async def test_every_route_that_needs_redis_answers_503_without_it(
    open_client: OpenClient, settings: Settings, tmp_path: Path, redis_like: Any
) -> None:
    path = tmp_path / "redis.sock"

    async def ask(method: str, path: str, content: dict[str, Any]) -> None:
        answer = await client.request(method, path, **content)
        problem_of(answer, 503, "redis-unavailable")
        assert int(answer.headers["retry-after"]) > 0

    async with redis_like(path), open_client(redis_url=f"unix://{path}") as client:
        await asyncio.gather(*(ask(*request) for request in NEED_REDIS))
        for url in ("/healthz", "/v1/job-types", "/openapi.json"):
            assert (await client.get(url)).status_code == 200
    # one that says nothing may have put the job: its file stays until that is known
    assert len(stored_files(settings.data_dir)) == (1 if redis_like is silent else 0)


async def test_the_service_goes_on_when_redis_is_back(
    open_client: OpenClient, redis_url: str, redis: ArqRedis, tmp_path: Path
) -> None:
    path = tmp_path / "redis.sock"
    async with open_client(redis_url=f"unix://{path}") as client:
        problem_of(await client.post("/v1/jobs/welcome_email", json=LETTER), 503, "redis-unavailable")
        path.symlink_to(redis_url.removeprefix("unix://"))
        assert (await client.post("/v1/jobs/welcome_email", json=LETTER)).status_code == 202


async def test_an_outage_is_logged_once_however_many_requests_are_refused(
    open_client: OpenClient, tmp_path: Path
) -> None:
    with capture_logs() as lines:
        async with open_client(redis_url=f"unix://{tmp_path}/redis.sock") as client:
            for _ in range(5):
                problem_of(await client.get("/readyz"), 503, "redis-unavailable")
    assert [line["event"] for line in lines if "503" in line["event"]] == [
        "redis is away: requests that need it are answered 503"
    ]


@pytest.mark.parametrize(
    ("options", "detail"),
    [
        (["maxmemory 1"], "Redis is out of memory, so nothing was promised."),
        (["replicaof 127.0.0.1 1"], "Redis refuses it for now, so nothing was promised."),
        (["replicaof 127.0.0.1 1", "replica-serve-stale-data no"], "Redis refuses it for now"),
        (["min-replicas-to-write 1"], "Redis refuses it for now"),
        (["requirepass other"], "so nothing was promised."),
    ],
)
async def test_a_redis_that_refuses_for_now_is_away_too(
    open_client: OpenClient, tmp_path: Path, options: list[str], detail: str
) -> None:
    with RedisServer(tmp_path / "server", options=options).running() as server:
        async with open_client(redis_url=server.url) as client:
            for path in ("/v1/jobs/welcome_email", "/v1/jobs/welcome_email/batch"):
                body = [LETTER] if path.endswith("batch") else LETTER
                answer = await client.post(path, json=body)
                assert detail in problem_of(answer, 503, "redis-unavailable")["detail"]
                assert int(answer.headers["retry-after"]) > 0
            for path in ("/v1/jobs/x", "/v1/jobs/x?wait=1", "/readyz"):
                assert (await client.get(path)).status_code in (404, 503)


async def test_a_fault_of_the_service_shows_nothing_of_its_inside(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("its inside")

    monkeypatch.setattr(EnqueueScript, "_put", fail)
    answer = await client.post("/v1/jobs/resize", content=UPLOAD, headers=forms.HEADERS)
    problem_of(answer, 500, "internal-error")
    assert "its inside" not in answer.text
    assert stored_files(settings.data_dir) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/v1", 404, "not-found"),
        ("POST", "/v1/jobs", 405, "method-not-allowed"),
        ("PUT", "/v1/jobs/x", 405, "method-not-allowed"),
        ("PUT", "/v1/jobs/welcome_email", 405, "method-not-allowed"),
        ("POST", "/healthz", 405, "method-not-allowed"),
    ],
)
async def test_an_unknown_path_or_method_is_a_problem_that_points_to_the_documentation(
    client: httpx.AsyncClient, method: str, path: str, status: int, kind: str
) -> None:
    answer = await client.request(method, path)
    details = problem_of(answer, status, kind)
    assert path in details["detail"] and "/docs" in details["detail"]
    assert ("allow" in answer.headers) == (status == 405)
