"""Every answer carries the headers that keep browsers and caches in their place, those to errors included."""

from __future__ import annotations

import httpx
import pytest

from errand.queue.enqueue_script import EnqueueScript
from settings import Settings
from tests.conftest import OpenClient
from tests.http.answers_seen import LETTER


def guards_of(answer: httpx.Response) -> dict[str, list[str]]:
    """Each as often as it was sent."""
    names = ("x-content-type-options", "referrer-policy", "cache-control")
    return {name: answer.headers.get_list(name) for name in (*names, "content-security-policy")}


EVERYWHERE = {
    "x-content-type-options": ["nosniff"],
    "referrer-policy": ["no-referrer"],
    "cache-control": ["no-store"],
    "content-security-policy": ["default-src 'none'; frame-ancestors 'none'"],
}


async def test_a_job_is_kept_by_no_cache_and_framed_by_no_page(client: httpx.AsyncClient) -> None:
    put = await client.post("/v1/jobs/welcome_email", json=LETTER)
    assert guards_of(put) == guards_of(await client.get(put.headers["location"])) == EVERYWHERE


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", "/healthz", 200), ("GET", "/readyz", 503), ("GET", "/v1/job-types", 200)),
        *(("GET", "/openapi.json", 200), ("GET", "/nowhere", 404), ("DELETE", "/healthz", 405)),
        *(("POST", "/v1/jobs/welcome_email", 422), ("GET", "/v1/jobs/nope", 404), ("GET", "/v1/files/nope", 404)),
    ],
)
async def test_so_is_every_other_answer(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, guards_of(answer)) == (status, EVERYWHERE)


async def test_a_body_too_large_and_a_fault_of_the_service_are_no_exceptions(
    open_client: OpenClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(EnqueueScript, "_put", fail)
    async with open_client(settings.model_copy(update={"body_limit_bytes": 100})) as client:
        large = await client.post("/v1/jobs/welcome_email", content=b" " * 101)
        fault = await client.post("/v1/jobs/welcome_email", json=LETTER)
    assert (large.status_code, fault.status_code) == (413, 500)
    assert guards_of(large) == guards_of(fault) == EVERYWHERE


async def test_what_one_answer_says_is_not_said_twice_by_the_next(client: httpx.AsyncClient) -> None:
    first, second = await client.get("/docs"), await client.get("/docs")
    assert first.headers == second.headers
    assert all(len(values) == 1 for values in guards_of(second).values())
