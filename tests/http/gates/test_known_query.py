"""A misspelt query parameter is refused, and the one that was meant is named."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from tests.http.answers_seen import LETTER, faulty_fields, problem_of
from tests.http.requests import forms

UPLOAD = forms.form(forms.part("args", b'{"sizes": [{"width": 10}]}'), forms.part("file", b"II*\0 the picture"))


@pytest.mark.parametrize(
    ("method", "path", "request_", "meant"),
    [
        ("POST", "/v1/jobs/welcome_email?dealy=10m", {"json": LETTER}, "delay"),
        ("POST", "/v1/jobs/welcome_email?delay=10m&runat=2030-01-01T00:00:00Z", {"json": LETTER}, "run_at"),
        ("POST", "/v1/jobs/welcome_email/batch?Delay=10m", {"json": [LETTER]}, "delay"),
        ("POST", "/v1/jobs/resize?delays=10m", {"content": UPLOAD, "headers": forms.HEADERS}, "delay"),
        ("GET", "/v1/jobs/x?wiat=5", {}, "wait"),
        ("GET", "/v1/schedules?limt=5", {}, "limit"),
    ],
)
async def test_a_slip_of_the_pen_is_named_with_what_was_meant(
    client: httpx.AsyncClient, redis: ArqRedis, method: str, path: str, request_: dict[str, Any], meant: str
) -> None:
    answer = await client.request(method, path, **request_)
    (field,) = faulty_fields(answer)
    assert f"?{field.removeprefix('query.')}=" in path or f"&{field.removeprefix('query.')}=" in path
    assert f"did you mean '{meant}'?" in answer.json()["detail"]
    assert await redis.dbsize() == 0


async def test_what_resembles_nothing_is_told_what_there_is(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jobs/welcome_email?zzz=1&delay=5&%00=1", json=LETTER)
    assert faulty_fields(answer) == ["query.zzz", "query.\0"]
    assert "known are: delay, run_at" in answer.json()["detail"]
    none = await client.get("/v1/job-types", params={"x" * 5000: 1})
    assert faulty_fields(none) == [f"query.{'x' * 64}"] and "no query parameters" in none.json()["detail"]


async def test_the_name_of_a_header_is_none_of_the_query(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jobs/welcome_email?Prefer=wait%3D1&Idempotency-Key=k", json=LETTER)
    assert faulty_fields(answer) == ["query.Prefer", "query.Idempotency-Key"]


@pytest.mark.parametrize("query", ["", "delay=5", "delay=5&delay=6", "run_at=2030-01-01T00:00:00Z"])
async def test_what_a_route_knows_is_taken(client: httpx.AsyncClient, query: str) -> None:
    assert (await client.post(f"/v1/jobs/welcome_email?{query}", json=LETTER)).status_code == 202


async def test_an_unknown_type_is_said_first(client: httpx.AsyncClient) -> None:
    problem_of(await client.post("/v1/jobs/fax?delay=5", json={}), 404, "unknown-job-type")


async def test_of_thousands_a_few_are_said(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/jobs?" + "&".join(map(str, range(1_500))))
    assert len(faulty_fields(answer)) == 21 and "has 1480 more" in answer.text
