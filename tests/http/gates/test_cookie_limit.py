"""A cookie that takes long to read is refused before it is read."""

from __future__ import annotations

import httpx
import pytest

from errand.http.gates.cookie_limit import MAX_ESCAPES
from tests.http.answers_seen import problem_of


def cookie_of(escapes: int) -> dict[str, str]:
    return {"Cookie": 'theme=dark; other="' + '\\"' * escapes + '"'}


@pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/nowhere"])
async def test_a_cookie_of_many_escapes_is_refused_before_anything_else(client: httpx.AsyncClient, path: str) -> None:
    problem = problem_of(
        await client.get(path, headers=cookie_of(MAX_ESCAPES + 1)), 431, "request-header-fields-too-large"
    )
    assert "backslashes" in problem["detail"]


async def test_a_cookie_of_another_program_with_some_escapes_is_let_through(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz", headers=cookie_of(MAX_ESCAPES))).status_code == 200
