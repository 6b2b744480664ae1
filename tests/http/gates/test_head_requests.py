"""HEAD: what GET would say, without its content."""

from __future__ import annotations

import httpx
import pytest

from tests.http.answers_seen import LETTER


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/job-types", "/openapi.json", "/docs", "/v1/jobs/nope"])
async def test_head_is_answered_as_get_is_but_for_the_content(client: httpx.AsyncClient, path: str) -> None:
    get, head = await client.get(path), await client.head(path)
    assert head.content == b"" and get.content
    assert (head.status_code, head.headers) == (get.status_code, get.headers)


async def test_a_job_can_be_asked_for_by_its_head(client: httpx.AsyncClient) -> None:
    place = (await client.post("/v1/jobs/welcome_email", json=LETTER)).headers["location"]
    assert ((await client.head(place)).status_code, (await client.head(place)).content) == (200, b"")


async def test_where_nothing_is_got_there_is_no_head_either(client: httpx.AsyncClient) -> None:
    refused = await client.head("/v1/jobs/welcome_email/batch")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/v1/events", "/v1/webhook-events", "/dashboard/live"])
async def test_the_head_of_a_stream_is_all_that_there_is(client: httpx.AsyncClient, path: str) -> None:
    head = await client.head(path)
    assert (head.status_code, head.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
