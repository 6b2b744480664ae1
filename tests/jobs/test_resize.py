"""The image resize as its users meet it: HTTP in, a worker with its processes, files out."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from aiohttp import web
from arq.connections import ArqRedis
from arq.constants import default_queue_name
from pydantic import ValidationError

from errand import Context
from errand.images import steps
from errand.images.steps import RESOURCES
from errand.resources.openers import storage
from jobs.resize import Resize, resize
from settings import Settings
from tests.conftest import RunWorker, make_settings
from tests.peers import HttpReceiver
from tests.pictures import format_of, image, size_of
from tests.waiting import NEVER_S, eventually

Job = dict[str, Any]


async def upload(client: httpx.AsyncClient, content: bytes, *sizes: dict[str, Any]) -> str:
    """The path of a job that resizes this content."""
    form = {"args": json.dumps({"sizes": sizes})}
    answer = await client.post("/v1/jobs/resize", data=form, files={"file": ("cat.jpg", content)})
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])


async def ended(client: httpx.AsyncClient, path: str) -> Job:
    """The job when it has ended."""

    async def look() -> Job | None:
        job: Job = (await client.get(path, params={"wait": 20})).json()
        return job if job["finished_at"] is not None else None

    return await eventually(look)


async def failure(client: httpx.AsyncClient, path: str) -> str:
    """Why a job failed, which it must at its first attempt."""
    job = await ended(client, path)
    assert (job["status"], [attempt["outcome"] for attempt in job["attempts"]]) == ("failed", ["failed"])
    assert job["error"]["type"] in ("Fail", "InputMissing") and job["error"]["traceback"] is None
    return str(job["error"]["message"])


def test_a_storage_or_a_source_that_is_away_for_ten_minutes_fails_no_job() -> None:
    assert sum(resize.retry.planned_s(attempt) for attempt in range(1, resize.max_tries)) > 600


async def test_an_upload_comes_out_in_every_size_asked_for(
    client: httpx.AsyncClient, run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "SHOWN_AFTER_S", 0)
    sizes: list[dict[str, Any]] = [
        {"width": 300},
        {"width": 64, "height": 64, "fit": "cover", "format": "webp", "quality": 50},
        {"height": 50, "format": "avif"},
    ]
    async with run_worker([resize]):
        job = await ended(client, await upload(client, image(600, 401), *sizes))
    assert job["status"] == "succeeded"
    outputs = job["result"]["outputs"]
    made = [(output["width"], output["height"], output["format"]) for output in outputs]
    assert made == [(300, 200, "jpeg"), (64, 64, "webp"), (75, 50, "avif")]
    for output, loader in zip(outputs, ("jpegload_buffer", "webpload_buffer", "heifload_buffer"), strict=True):
        served = await client.get(output["url"])
        assert served.status_code == 200
        assert served.headers["content-type"] == f"image/{output['format']}"
        assert len(served.content) == output["bytes"]
        assert size_of(served.content) == (output["width"], output["height"])
        assert format_of(served.content) == loader
        assert hashlib.sha256(served.content).hexdigest() == output["sha256"]
        assert output["sha256"][:32] in output["url"] and served.headers["etag"] == f'"{output["sha256"][:32]}"'
    assert (job["progress"]["fraction"], job["progress"]["note"]) == (0.9, "3 of 3 made: 75 x 50 avif")


async def test_each_step_is_shown_if_it_lasts_and_the_same_image_is_stored_as_the_same_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[float, str]] = []

    async def note(fraction: float, said: str) -> None:
        shown.append((round(fraction, 2), said))

    args = Resize.model_validate(
        {
            "file": {"key": "uploads/01a229ea-c87b-7096-8032-dca147030211", "bytes": 1},
            "sizes": [{"width": 60, "format": ["jpeg", "webp"]}, {"width": 30}],
        }
    )
    async with AsyncExitStack() as stack:
        resources: dict[Any, Any] = {opener: await stack.enter_async_context(opener(settings)) for opener in RESOURCES}
        ctx = Context(
            job_id="j", attempt=1, max_tries=1, enqueued_at=datetime.now(UTC), resources=resources, report=note
        )

        async def content() -> AsyncIterator[bytes]:
            yield image(120, 80)

        await ctx.use(storage).write("uploads/01a229ea-c87b-7096-8032-dca147030211", content())
        monkeypatch.setattr(steps, "SHOWN_AFTER_S", 0)
        first = await resize.function(ctx, args)
        monkeypatch.setattr(steps, "SHOWN_AFTER_S", NEVER_S)
        again = await resize.function(ctx, args)
    assert shown == [
        (0.3, "120 x 80 decoded"),
        (0.5, "1 of 3 made: 60 x 40 jpeg"),
        (0.7, "2 of 3 made: 60 x 40 webp"),
        (0.9, "3 of 3 made: 30 x 20 jpeg"),
    ]
    assert first == again and len(list((settings.data_dir / "files" / "resize" / "j").iterdir())) == 3


async def test_presets_and_watermarks_come_from_the_installation(
    client: httpx.AsyncClient, run_worker: RunWorker, settings: Settings
) -> None:
    (settings.data_dir / "files" / "watermarks").mkdir(parents=True)
    (settings.data_dir / "files" / "watermarks" / "logo.png").write_bytes(image(20, 10, form="png"))
    sizes: list[dict[str, Any]] = [
        {"preset": "avatar", "width": 64, "height": 64},
        {"width": 100, "format": ["webp", "jpg"], "watermark": {"key": "watermarks/logo.png"}},
    ]
    async with run_worker([resize]):
        job = await ended(client, await upload(client, image(300, 200), *sizes))
        gone = await upload(client, image(30, 20), {"width": 10, "watermark": {"key": "watermarks/none.png"}})
        assert await failure(client, gone) == "no watermark is stored under watermarks/none.png"
    made = [(output["width"], output["height"], output["format"]) for output in job["result"]["outputs"]]
    assert made == [(64, 64, "webp"), (100, 67, "webp"), (100, 67, "jpeg")]
    about = job["result"]["source"]
    assert (about["width"], about["height"], about["format"], len(about["blurhash"])) == (300, 200, "jpeg", 28)
    form = {"args": json.dumps({"sizes": [{"preset": "poster"}]})}
    unknown = await client.post("/v1/jobs/resize", data=form, files={"file": ("cat.jpg", image(9, 9))})
    assert unknown.status_code == 422 and "there are: avatar, og-image, thumbnail" in unknown.text


async def test_an_image_that_cannot_be_read_fails_at_once_and_says_why(
    client: httpx.AsyncClient, run_worker: RunWorker
) -> None:
    photo = image(300, 200)
    async with run_worker([resize]):
        cut = await upload(client, photo[: len(photo) * 9 // 10], {"width": 10})
        assert "JPEG is damaged or cut short" in await failure(client, cut)


AVIF = {"width": 7_000, "enlarge": True, "format": "avif"}


@pytest.mark.parametrize(
    ("content", "sizes", "field", "said"),
    [
        (b"", [{"width": 10}], "body.file", "the file is empty"),
        (b"Dear Sir or Madam,\n" * 100, [{"width": 10}], "body.file", "not an image that can be read"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", [{"width": 10}], "body.file", "it is HEIC, convert it to one of these"),
        (image(1, 1, form="png"), [AVIF] * 20, "body", "over the limit of 200: ask for fewer, smaller or cheaper"),
    ],
    ids=["nothing", "a text", "a HEIC", "a pixel, enlarged"],
)
async def test_what_can_only_fail_is_refused_with_the_request(
    client: httpx.AsyncClient, content: bytes, sizes: list[dict[str, Any]], field: str, said: str
) -> None:
    form = {"args": json.dumps({"sizes": sizes})}
    answer = await client.post("/v1/jobs/resize", data=form, files={"file": ("cat.jpg", content)})
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field and said in error["message"]


async def test_a_file_name_instead_of_a_file_is_refused_with_what_to_do(client: httpx.AsyncClient) -> None:
    """As `curl -F file=photo.jpg` sends it, without the `@`."""
    form = {"args": (None, b'{"sizes": [{"width": 10}]}'), "file": (None, b"photo.jpg")}
    answer = await client.post("/v1/jobs/resize", files=form)
    assert answer.status_code == 422 and "file=@photo.jpg" in answer.text


async def test_sizes_that_cost_too_much_of_any_image_are_refused_with_the_request(client: httpx.AsyncClient) -> None:
    size = {"width": 9_000, "height": 9_000, "fit": "cover"}
    args = {"source_url": "https://images.example/a.jpg", "sizes": [size] * 3}
    answer = await client.post("/v1/jobs/resize", json=args)
    assert answer.status_code == 422 and "cost as much as 243 megapixels" in answer.text
    batch = await client.post("/v1/jobs/resize/batch", json=[args])
    assert batch.status_code == 422 and batch.json()["errors"][0]["field"] == "body.0"


async def test_an_image_that_takes_more_cpu_time_than_it_may_fails_at_once(
    client: httpx.AsyncClient, run_worker: RunWorker, settings: Settings, redis_url: str
) -> None:
    hasty = make_settings(settings.data_dir, redis_url=redis_url, image_cpu_s=0.05, avif_effort=6)
    async with run_worker([resize], hasty):
        slow = await upload(client, image(700, 500), {"width": 700, "format": "avif"})
        assert "more CPU time" in await failure(client, slow)


async def test_an_upload_that_is_gone_fails_at_once(
    client: httpx.AsyncClient, run_worker: RunWorker, settings: Settings
) -> None:
    path = await upload(client, image(20, 20), {"width": 10})
    for stored in (settings.data_dir / "files" / "uploads").iterdir():
        stored.unlink()
    async with run_worker([resize]):
        assert "no longer stored" in await failure(client, path)


async def from_url(client: httpx.AsyncClient, url: str) -> str:
    """The path of a job that fetches its image there."""
    answer = await client.post("/v1/jobs/resize", json={"source_url": url, "sizes": [{"width": 30}]})
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])


async def test_an_image_is_fetched_from_a_url(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    receiver.answers = [web.Response(body=image(60, 40, form="png"))]
    async with run_worker([resize]):
        job = await ended(client, await from_url(client, f"{receiver.url}/cat.png"))
    assert [request.path for request in receiver.requests] == ["/cat.png"]
    (output,) = job["result"]["outputs"]
    assert (output["width"], output["height"], output["format"]) == (30, 20, "png")


async def test_a_url_that_has_no_image_fails_at_once(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver
) -> None:
    async with run_worker([resize]):
        receiver.answers = [404]
        assert await failure(client, await from_url(client, receiver.url)) == "source_url: answered 404"
        receiver.answers = [web.Response(text="<html>a page</html>")]
        assert "not an image that can be read" in await failure(client, await from_url(client, receiver.url))


async def test_a_url_of_this_network_is_refused(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver, settings: Settings, redis_url: str
) -> None:
    guarded = make_settings(settings.data_dir, redis_url=redis_url, webhook_allow_networks="")
    async with run_worker([resize], guarded):
        assert "not public" in await failure(client, await from_url(client, receiver.url))
    assert receiver.requests == []


async def test_a_url_that_is_down_is_tried_again(
    client: httpx.AsyncClient, run_worker: RunWorker, receiver: HttpReceiver, redis: ArqRedis
) -> None:
    receiver.answers = [503, web.Response(body=image(60, 40))]
    path = await from_url(client, receiver.url)
    async with run_worker([resize]):
        waiting = await deferred(client, path)
        assert "503" in waiting["attempts"][0]["error"]["message"]
        await make_due(redis, waiting)
        assert (await ended(client, path))["status"] == "succeeded"


async def deferred(client: httpx.AsyncClient, path: str) -> Job:
    """The job once it waits for its next attempt."""

    async def look() -> Job | None:
        job: Job = (await client.get(path)).json()
        return job if job["status"] == "deferred" else None

    return await eventually(look)


async def make_due(redis: ArqRedis, job: Job) -> None:
    """Lets the time of its next attempt come."""
    await redis.zadd(default_queue_name, {job["id"]: 1}, xx=True)


async def test_an_image_that_takes_too_long_or_whose_process_dies_is_tried_again(
    client: httpx.AsyncClient,
    run_worker: RunWorker,
    redis: ArqRedis,
    redis_url: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = await upload(client, image(700, 500), {"width": 700, "format": "avif"})
    thorough = make_settings(settings.data_dir, redis_url=redis_url, avif_effort=4)

    async def died() -> Job | None:
        for process in multiprocessing.active_children():
            process.kill()
        job: Job = (await client.get(path)).json()
        return job if (job["status"], job["attempt"]) == ("deferred", 2) else None

    async with run_worker([resize], thorough):
        with monkeypatch.context() as patch:
            patch.setattr(steps, "RENDER_LIMIT_S", 0.05)
            late = await deferred(client, path)
        await make_due(redis, late)
        await make_due(redis, await eventually(died))
        done = await ended(client, path)
    errors = [attempt["error"] and attempt["error"]["type"] for attempt in done["attempts"]]
    assert (done["status"], errors[0], errors[2]) == ("succeeded", "TimeoutError", None)
    # killed while it computes, or before it has started to
    assert errors[1] in ("ProcessDied", "PoolBroken")
    assert "render ran longer than 0.05 s" in done["attempts"][0]["error"]["message"]


@pytest.mark.parametrize(
    ("args", "location"),
    [
        ({"sizes": [{}]}, ("sizes", 0)),
        ({"sizes": [{"fit": "cover"}]}, ("sizes", 0)),
        ({"sizes": [{"width": 0}]}, ("sizes", 0, "width")),
        ({"sizes": [{"width": 10_001}]}, ("sizes", 0, "width")),
        ({"sizes": [{"width": True}]}, ("sizes", 0, "width")),
        ({"sizes": [{"width": 10, "format": []}]}, ("sizes", 0, "format")),
        ({"sizes": [{"width": 10, "format": ["webp", "x"]}]}, ("sizes", 0, "format")),
        ({"sizes": [{"width": 10, "quality": True}]}, ("sizes", 0, "quality")),
        ({"sizes": [{"width": 10, "quality": {"x": 1}}]}, ("sizes", 0, "quality")),
        ({"sizes": [{"width": 10, "watermark": {"key": "uploads/x"}}]}, ("sizes", 0, "watermark", "key")),
        ({"sizes": [{"width": 10, "quality": 101}]}, ("sizes", 0, "quality")),
        ({"sizes": [{"width": 10, "format": "bmp"}]}, ("sizes", 0, "format")),
        ({"sizes": [{"width": 10, "fit": "crop"}]}, ("sizes", 0, "fit")),
        ({"sizes": [{"width": 10, "depth": 1}]}, ("sizes", 0, "depth")),
        ({"sizes": []}, ("sizes",)),
        ({"sizes": [{"width": 10}] * 21}, ("sizes",)),
        ({"source_url": "ftp://e.example/a.jpg"}, ("source_url",)),
        ({"file": {"key": "uploads/../secret", "bytes": 1}, "source_url": None}, ("file", "key")),
        ({"file": {"key": "resize/1/a.png", "bytes": 1}, "source_url": None}, ("file", "key")),
        ({"source_url": None}, ()),
    ],
)
def test_args_that_make_no_sense_are_refused(args: dict[str, Any], location: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        Resize.model_validate({"sizes": [{"width": 10}], "source_url": "https://e.example/a.jpg", **args})
    assert [error["loc"] for error in refused.value.errors()] == [location]
