"""A request for what does not exist is answered with what does."""

from __future__ import annotations

import httpx
import pytest

from tests.http.answers_seen import LETTER, problem_of


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/jobs/welcome_email", "POST"),
        ("PUT", "/v1/jobs/01a1", "DELETE, GET, HEAD"),
        ("PATCH", "/v1/schedules/nightly", "DELETE, GET, HEAD, PUT"),
        ("OPTIONS", "/v1/schedules", "GET, HEAD, POST"),
        ("GET", "/v1/queues/default/pause", "POST"),
        ("POST", "/v1/files/resize/1/a.png", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_possible_is_answered_with_all_that_are(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await client.request(method, path)
    detail = problem_of(answer, 405, "method-not-allowed")["detail"]
    assert answer.headers["allow"] == allow
    assert allow.replace(", ", " or ") in detail


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/job-type", "GET /v1/job-types"),
        ("/v1/schedule", "GET /v1/schedules"),
        ("/v1/dead-job", "GET /v1/dead-jobs"),
        ("/v1/queues/default", "/v1/queues"),
        ("/healthz/", "GET /healthz"),
        ("/v1/jobs/welcome_email/", "POST /v1/jobs/welcome_email"),
    ],
)
async def test_an_unknown_path_is_answered_with_known_ones(client: httpx.AsyncClient, path: str, meant: str) -> None:
    assert meant in problem_of(await client.post(path, json=LETTER), 404, "not-found")["detail"]


async def test_a_slash_too_many_is_answered_with_the_path_without_it(client: httpx.AsyncClient) -> None:
    for path in ("/v1/job-types/", "/v1/schedules/", "/v1/dead-jobs/"):
        assert "There is GET" in problem_of(await client.get(path), 404, "not-found")["detail"]


async def test_a_job_type_in_place_of_a_jobs_id_is_pointed_out(client: httpx.AsyncClient) -> None:
    detail = problem_of(await client.get("/v1/jobs/webhook"), 404, "unknown-job")["detail"]
    assert "POST its args to /v1/jobs/webhook" in detail
