"""JSON in: what Python's own reader lets through and the queue could not keep is refused as a 422, never a 500."""

from __future__ import annotations

import time
import timeit

import httpx
import pytest
from arq.connections import ArqRedis

from errand.http.requests import json_body
from tests.http.answers_seen import faulty_fields

JSON = {"Content-Type": "application/json"}


MANY_BYTES = 4 * 1024 * 1024


def refused(body: bytes) -> bool:
    """Reads it, and says whether it is no JSON to us."""
    try:
        json_body.parsed(body)
    except ValueError:
        return True
    return False


def event_with(data: bytes) -> bytes:
    return b'{"url": "http://e.example", "event": "a", "data": %b}' % data


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"NaN",
        b"\xff\xfe",
        b'"\\ud800"',
        event_with(b"NaN"),
        event_with(b"[-Infinity]"),
        event_with(b'{"deep": [1e400]}'),
        event_with(b"-1E+999"),
        event_with(b"1" + b"0" * 400 + b".5"),
        event_with(b"9" * 210 + b"e99"),
        event_with(b"[-" + b"9" * 250 + b".5E+99]"),
        event_with(b'"\\ud800"'),
        event_with(b'{"\\ud800": 1}'),
        b'{"\\ud800": 1}',
        event_with(b"1" * 5_000),
        event_with(b"[" * 100_000),
    ],
    ids=lambda body: body[:60].decode("latin-1"),
)
@pytest.mark.parametrize("type_name", ["webhook", "resize"])
async def test_what_is_not_json_is_refused(
    client: httpx.AsyncClient, redis: ArqRedis, type_name: str, body: bytes
) -> None:
    answer = await client.post(f"/v1/jobs/{type_name}", content=body, headers=JSON)
    assert faulty_fields(answer) == ["body"]
    assert "is not valid JSON" in answer.json()["detail"]
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("piece", [b"1" * 299 + b",", b"[", b'{"a":', b'"\\u0000', b"1e9,", b"-"])
def test_a_body_made_to_keep_the_reader_busy_does_not(piece: bytes) -> None:
    body = b"[" + piece * (MANY_BYTES // len(piece)) + b"0]"
    best_s = min(timeit.repeat(lambda: refused(body), number=1, repeat=3, timer=time.process_time))
    assert best_s < 0.5, "half a second for 4 MiB: the loop stands still meanwhile"


def test_a_text_without_an_end_is_looked_for_once_and_not_from_each_quote_in_it() -> None:
    def cpu_s(quotes: int) -> float:
        body = b"[" * (json_body.MAX_CONTAINERS + 1) + b'"' + b'\\"' * quotes
        return min(timeit.repeat(lambda: refused(body), number=1, repeat=2, timer=time.process_time))

    assert cpu_s(32_000) < 8 * max(cpu_s(8_000), 0.05), "more than the length of the text has grown by"
    assert json_body.TEXT.sub(b"", b'["a[\\"", "[\\"[", "[') == b"[, , "
    assert json_body.TEXT.sub(b"", b'["a[\\') == b"["


@pytest.mark.parametrize("data", [b'"\\ud83d\\ude00"', b"12345678901234567890123", b"0.1", b"null"])
async def test_what_is_json_is_kept_as_it_is(client: httpx.AsyncClient, data: bytes) -> None:
    accepted = await client.post("/v1/jobs/webhook", content=event_with(data), headers=JSON)
    sent = httpx.Response(200, content=data).json()
    assert (await client.get(accepted.headers["location"])).json()["args"]["data"] == sent


async def test_what_is_accepted_can_be_read_back_however_deep_it_is(client: httpx.AsyncClient) -> None:
    """The queue's reader has a limit on nesting: past it a job would be stored that nobody could read again."""
    answers = {}
    for levels in (150, *range(194, 206), 300):
        body = event_with(b"[" * levels + b"]" * levels)
        answer = await client.post("/v1/jobs/webhook", content=body, headers=JSON)
        answers[levels] = answer.status_code
        if answer.status_code == 202:
            assert (await client.get(answer.headers["location"])).status_code == 200, levels
    assert set(answers.values()) == {202, 422}
    assert answers[150] == 202 and answers[300] == 422
