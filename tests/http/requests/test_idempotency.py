"""`Idempotency-Key`: the same request sent again is answered again and acted on once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from arq.connections import ArqRedis

from errand.wire import keys
from settings import Settings
from tests.conftest import OpenClient, make_settings
from tests.http.answers_seen import LETTER, faulty_fields, problem_of, stored_files
from tests.http.requests import forms
from tests.waiting import eventually

ONE = "/v1/jobs/welcome_email"
BATCH = f"{ONE}/batch"
UPLOAD = "/v1/jobs/resize"
ARGS = forms.part("args", b'{"sizes": [{"width": 10}]}')
FILE = forms.part("file", b"II*\0 the picture", filename="cat.jpg")


def under(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def jobs_put(redis: ArqRedis) -> int:
    return sum([await redis.zcard(keys.queue(name)) for name in ("default", "cpu", "mail", "webhooks")])


def is_the_same(again: httpx.Response, first: httpx.Response) -> bool:
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    return (again.status_code, again.content, again.headers.get("location")) == (
        first.status_code,
        first.content,
        first.headers.get("location"),
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [(ONE, LETTER), (f"{ONE}?delay=1h", LETTER), (BATCH, [LETTER] * 3)],
    ids=["one", "a later one", "a batch"],
)
async def test_the_same_request_gets_the_first_answer_again(
    client: httpx.AsyncClient, redis: ArqRedis, path: str, body: Any
) -> None:
    first = await client.post(path, json=body, headers=under("k"))
    number = await jobs_put(redis)
    assert first.status_code == 202
    assert is_the_same(await client.post(path, json=body, headers=under("k")), first)
    assert await jobs_put(redis) == number


async def test_many_at_once_put_one_job(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    answers = await asyncio.gather(*(client.post(ONE, json=LETTER, headers=under("k")) for _ in range(30)))
    assert {answer.status_code for answer in answers} == {202} and len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == await jobs_put(redis) == 1


async def test_the_answer_stays_as_it_was_when_the_job_has_moved_on(client: httpx.AsyncClient) -> None:
    first = await client.post(ONE, json=LETTER, headers=under("k"))
    await client.post(f"{first.headers['location']}/cancel")
    assert is_the_same(await client.post(ONE, json=LETTER, headers=under("k")), first)


@pytest.mark.parametrize(
    ("path", "body"),
    [(ONE, {**LETTER, "name": "Eve"}), (f"{ONE}?delay=5", LETTER), (f"{ONE}?unique_key=u", LETTER)],
    ids=["args", "delay", "unique key"],
)
async def test_another_request_under_the_key_is_refused(
    client: httpx.AsyncClient, redis: ArqRedis, path: str, body: Any
) -> None:
    await client.post(ONE, json=LETTER, headers=under("k"))
    details = problem_of(await client.post(path, json=body, headers=under("k")), 422, "idempotency-key-reused")
    assert "new key" in details["detail"] and await jobs_put(redis) == 1


async def test_another_batch_under_the_key_is_refused(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    await client.post(BATCH, json=[LETTER], headers=under("k"))
    problem_of(await client.post(BATCH, json=[LETTER] * 2, headers=under("k")), 422, "idempotency-key-reused")
    assert await jobs_put(redis) == 1


async def test_the_order_of_the_query_does_not_matter(client: httpx.AsyncClient) -> None:
    first = await client.post(f"{ONE}?delay=1h&unique_key=u", json=LETTER, headers=under("k"))
    assert is_the_same(await client.post(f"{ONE}?unique_key=u&delay=1h", json=LETTER, headers=under("k")), first)


async def test_a_key_counts_for_one_route(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    event = {"url": "https://receiver.example/", "event": "tick", "data": 1}
    for path, body in ((ONE, LETTER), (BATCH, [LETTER]), ("/v1/jobs/webhook", event)):
        answer = await client.post(path, json=body, headers=under("k"))
        assert answer.status_code == 202 and "idempotency-replayed" not in answer.headers
    assert await jobs_put(redis) == 3


async def test_a_key_counts_for_one_credential(
    open_client: OpenClient, redis: ArqRedis, tmp_path: Path, redis_url: str
) -> None:
    ada, eve = "ada-0123456789abc", "eve-0123456789abc"
    guarded = make_settings(tmp_path, redis_url=redis_url, api_keys=f"{ada},{eve}")
    async with open_client(guarded) as client:
        for number, (name, scheme) in enumerate([(ada, "Bearer"), (eve, "Bearer"), (ada, "bearer ")]):
            headers = {"Authorization": f"{scheme} {name}", **under("k")}
            answer = await client.post(ONE, json=LETTER, headers=headers)
            assert ("idempotency-replayed" in answer.headers) is (number == 2)
    assert await jobs_put(redis) == 2
    names = [name.decode() for name in await redis.keys("*")]
    assert not any(secret in name for name in names for secret in (ada, eve)), "no credential is kept"


async def test_a_refused_request_leaves_its_key_free(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    assert faulty_fields(await client.post(ONE, json={"to": "nobody"}, headers=under("k"))) == ["body.to", "body.name"]
    assert await redis.dbsize() == 0
    assert (await client.post(ONE, json=LETTER, headers=under("k"))).status_code == 202


async def test_it_is_kept_for_the_time_of_the_setting(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    await client.post(ONE, json=LETTER, headers=under("k"))
    (name,) = await redis.keys("errand:*:idempotency:*")
    assert 86_390 < await redis.ttl(name) <= 86_400
    await redis.delete(name)
    assert "idempotency-replayed" not in (await client.post(ONE, json=LETTER, headers=under("k"))).headers


@pytest.mark.parametrize(("one", "other"), [("k-1", '"k-1"'), ('"a b"', "a b"), ('"a\\\\b"', "a\\b")])
async def test_a_key_is_the_same_with_quotes_and_without(client: httpx.AsyncClient, one: str, other: str) -> None:
    first = await client.post(ONE, json=LETTER, headers=under(one))
    assert is_the_same(await client.post(ONE, json=LETTER, headers=under(other)), first)


@pytest.mark.parametrize(
    "given",
    [
        [b""],
        [b'""'],
        [b"x" * 256],
        [b'"open'],
        [b'"a"b'],
        [b'"a", "b"'],
        ["schlüssel".encode()],
        [b"a\tb"],
        [b"a", b"a"],
    ],
    ids=[
        "empty",
        "empty quotes",
        "too long",
        "half quoted",
        "past its quotes",
        "a list",
        "not ASCII",
        "a tab",
        "twice",
    ],
)
@pytest.mark.parametrize("path", [ONE, BATCH, UPLOAD])
async def test_a_malformed_key_is_refused(
    client: httpx.AsyncClient, redis: ArqRedis, path: str, given: list[bytes]
) -> None:
    headers = [(b"Idempotency-Key", value) for value in given]
    problem_of(await client.post(path, json=LETTER, headers=headers), 400, "malformed-idempotency-key")
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("key", ["x" * 255, '"' + "x" * 255 + '"', "!", "8e03978e-40d5-43dd-bc93-6894a57f9324"])
async def test_a_key_of_any_usual_kind_is_taken(client: httpx.AsyncClient, key: str) -> None:
    assert (await client.post(ONE, json=LETTER, headers=under(key))).status_code == 202


# uploads


async def upload(client: httpx.AsyncClient, content: Any, key: str = "k") -> httpx.Response:
    return await client.post(UPLOAD, content=content, headers={**forms.HEADERS, **under(key)})


@pytest.mark.parametrize("again", [(ARGS, FILE), (FILE, ARGS)], ids=["as before", "in another order"])
async def test_an_upload_sent_again_is_neither_stored_nor_put_twice(
    client: httpx.AsyncClient, redis: ArqRedis, settings: Settings, again: tuple[bytes, ...]
) -> None:
    first = await upload(client, forms.form(ARGS, FILE))
    (stored,) = stored_files(settings.data_dir)
    assert is_the_same(await upload(client, forms.form(*again)), first)
    assert first.json()["args"]["file"]["key"] == stored
    assert (stored_files(settings.data_dir), await jobs_put(redis)) == ([stored], 1)
    assert not await redis.keys("*in-flight*")


@pytest.mark.parametrize(
    "other",
    [
        (ARGS, forms.part("file", b"II*\0 another one", filename="cat.jpg")),
        (ARGS, forms.part("file", b"II*\0 the picture", filename="dog.jpg")),
        (forms.part("args", b'{"sizes": [{"width": 11}]}'), FILE),
    ],
    ids=["content", "name", "args"],
)
async def test_another_upload_under_the_key_is_refused_and_not_stored(
    client: httpx.AsyncClient, settings: Settings, other: tuple[bytes, ...]
) -> None:
    await upload(client, forms.form(ARGS, FILE))
    problem_of(await upload(client, forms.form(*other)), 422, "idempotency-key-reused")
    assert len(stored_files(settings.data_dir)) == 1


async def test_while_an_upload_comes_in_another_under_its_key_is_told_to_wait(
    client: httpx.AsyncClient, redis: ArqRedis, settings: Settings
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield ARGS
        started.set()
        await go_on.wait()
        yield FILE + forms.END

    coming_in = asyncio.create_task(upload(client, slowly()))
    await started.wait()
    await eventually(lambda: redis.keys("*in-flight*"))
    second = await upload(client, forms.form(ARGS, FILE))
    problem_of(second, 409, "request-in-flight")
    assert second.headers["retry-after"].isdigit()
    go_on.set()
    first = await coming_in
    assert first.status_code == 202
    assert is_the_same(await upload(client, forms.form(ARGS, FILE)), first)
    assert (len(stored_files(settings.data_dir)), await jobs_put(redis)) == (1, 1)


async def test_two_uploads_that_both_come_in_end_as_one_job_and_one_file(
    client: httpx.AsyncClient, redis: ArqRedis, settings: Settings
) -> None:
    """Where the first took so long that its hold on the key is over."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield ARGS + FILE
        started.set()
        await go_on.wait()
        yield forms.END

    coming_in = asyncio.create_task(upload(client, slowly()))
    await started.wait()
    await eventually(lambda: redis.keys("*in-flight*"))
    await redis.delete(*await redis.keys("*in-flight*"))
    quick = await upload(client, forms.form(ARGS, FILE))
    go_on.set()
    assert is_the_same(await coming_in, quick)
    assert stored_files(settings.data_dir) == [quick.json()["args"]["file"]["key"]]
    assert await jobs_put(redis) == 1


async def test_an_upload_that_was_refused_leaves_its_key_free(client: httpx.AsyncClient, redis: ArqRedis) -> None:
    assert (await upload(client, forms.form(ARGS))).status_code == 422
    assert await redis.dbsize() == 0
    assert (await upload(client, forms.form(ARGS, FILE))).status_code == 202


async def test_json_for_a_type_that_takes_files_is_replayed_too(client: httpx.AsyncClient) -> None:
    body = {"sizes": [{"width": 10}], "source_url": "https://e.example/a.jpg"}
    first = await client.post(UPLOAD, json=body, headers=under("k"))
    assert is_the_same(await client.post(UPLOAD, json=body, headers=under("k")), first)
    problem_of(
        await client.post(UPLOAD, json={**body, "sizes": [{"width": 9}]}, headers=under("k")),
        422,
        "idempotency-key-reused",
    )
