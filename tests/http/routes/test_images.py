"""Images that are made when they are first asked for: by one job, however many ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web
from arq.connections import ArqRedis

from errand.http.routes.stored import images
from jobs.resize import resize
from settings import Settings
from tests.conftest import OpenClient, RunWorker, make_settings
from tests.http.answers_seen import faulty_fields, problem_of
from tests.peers import HttpReceiver
from tests.pictures import format_of, image, size_of
from tests.waiting import NEVER_S


@pytest.fixture
async def signing(
    open_client: OpenClient, settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A service that has a key to sign with, and waits for an image as long as a busy machine needs."""
    monkeypatch.setattr(images, "WAIT_S", NEVER_S)
    keyed = make_settings(settings.data_dir, redis_url=redis_url, file_url_keys="k" * 32)
    async with open_client(keyed) as client:
        yield client


async def url_of(client: httpx.AsyncClient, source_url: str, preset: str = "avatar") -> str:
    answer = await client.post("/v1/image-urls", json={"preset": preset, "source_url": source_url})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["url"])


async def test_an_image_is_made_once_for_all_who_ask(
    signing: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [web.Response(body=image(600, 400))]
    url = await url_of(signing, f"{receiver.url}/cat.jpg")
    async with run_worker([resize]):
        answers = await asyncio.gather(*(signing.get(url) for _ in range(5)))
    assert {(answer.status_code, answer.headers["content-type"]) for answer in answers} == {(200, "image/webp")}
    assert (size_of(answers[0].content), format_of(answers[0].content)) == ((256, 256), "webpload_buffer")
    assert [request.path for request in receiver.requests] == ["/cat.jpg"]
    again = await signing.get(url, headers={"If-None-Match": answers[0].headers["etag"]})
    assert again.status_code == 304 and again.headers["cache-control"].startswith("public, max-age=3153")


async def test_another_preset_or_source_than_the_signed_one_is_refused(signing: httpx.AsyncClient) -> None:
    url = await url_of(signing, "https://images.example/cat.jpg")
    for other in (url.replace("avatar", "thumbnail"), f"{url}AA", url.replace("/v1/images/", "/v1/images/A")):
        problem_of(await signing.get(other), 403, "forbidden")


async def test_what_cannot_be_made_says_why(
    signing: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [web.Response(text="<html>a page</html>")]
    url = await url_of(signing, receiver.url)
    async with run_worker([resize]):
        refused = problem_of(await signing.get(url), 422, "image-refused")
        problem_of(await signing.get(url), 422, "image-refused")
    assert "not an image that can be read" in refused["detail"] and len(receiver.requests) == 1
    unknown = await signing.get(await url_of(signing, receiver.url, preset="poster"))
    assert unknown.status_code == 422 and "there is no preset" in unknown.text


async def test_what_is_not_made_in_time_is_a_503_and_not_a_second_job(
    signing: httpx.AsyncClient, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "WAIT_S", 0.01)
    url = await url_of(signing, "https://images.example/cat.jpg")
    for _ in range(2):
        answer = await signing.get(url)
        problem_of(answer, 503, "image-not-ready")
        assert answer.headers["retry-after"] == "5"
    assert len(await redis.keys("arq:job:*")) == 1
    monkeypatch.setattr(images, "MAX_WAITING", 0)
    other = await url_of(signing, "https://images.example/dog.jpg")
    problem_of(await signing.get(other), 503, "image-not-ready")
    assert len(await redis.keys("arq:job:*")) == 1


async def test_nothing_is_made_without_a_key_to_sign_with(client: httpx.AsyncClient) -> None:
    body = {"preset": "avatar", "source_url": "https://images.example/cat.jpg"}
    problem_of(await client.post("/v1/image-urls", json=body), 409, "no-signing-keys")
    problem_of(await client.get("/v1/images/x/avatar/x"), 403, "forbidden")


async def test_what_a_passing_fault_has_ended_is_made_at_the_next_request(
    signing: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers = [500, 500, web.Response(body=image(600, 400))]
    url = await url_of(signing, f"{receiver.url}/cat.jpg")
    monkeypatch.setattr(images, "TRIES", 1)
    async with run_worker([resize]):
        for _ in range(2):
            answer = await signing.get(url)
            problem_of(answer, 503, "image-not-ready")
            assert answer.headers["retry-after"] == "5" and "this time" in answer.json()["detail"]
        assert (await signing.get(url)).headers["content-type"] == "image/webp"


async def test_a_source_that_was_not_there_is_asked_again_after_a_while(
    signing: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been asked for a moment before it was put there; the failure is remembered for a month."""
    receiver.answers = [404, web.Response(body=image(600, 400))]
    url = await url_of(signing, f"{receiver.url}/cat.jpg")
    async with run_worker([resize]):
        for _ in range(2):
            refused = problem_of(await signing.get(url), 422, "image-refused")
            assert "answered 404" in refused["detail"]
        monkeypatch.setattr(images, "MISSING_S", 0)
        assert (await signing.get(url)).headers["content-type"] == "image/webp"
    assert len(receiver.requests) == 2


async def test_a_request_that_has_waited_makes_room_for_another(
    signing: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "WAIT_S", 0.01)
    monkeypatch.setattr(images, "MAX_WAITING", 1)
    url = await url_of(signing, "https://images.example/cat.jpg")
    for _ in range(3):
        assert "not made yet" in problem_of(await signing.get(url), 503, "image-not-ready")["detail"]


async def test_who_asks_for_one_image_again_and_again_holds_up_no_other(
    signing: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WAIT_S": 3, "MAX_WAITING": 2, "MAX_FOR_ONE": 2}.items():
        monkeypatch.setattr(images, name, value)
    cat, dog = [await url_of(signing, f"https://images.example/{name}.jpg") for name in ("cat", "dog")]
    answers = await asyncio.gather(*(signing.get(url) for url in (cat, cat, cat, dog)))
    details = [problem_of(answer, 503, "image-not-ready")["detail"] for answer in answers]
    of_cat, of_dog = details[:3], details[3]
    assert sum("Too many" in detail for detail in of_cat) == 1, "whichever came last"
    assert "Too many" not in of_dog


async def test_no_url_with_a_password_is_signed(signing: httpx.AsyncClient) -> None:
    body = {"preset": "avatar", "source_url": "https://ada:hunter2@images.example/cat.jpg"}
    refused = await signing.post("/v1/image-urls", json=body)
    assert faulty_fields(refused) == ["body.source_url"] and "hunter2" not in refused.text
