"""`examples/gallery.py`: its page shows live how far a photo is, and then the picture."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvicorn

from errand.images import steps
from errand.testing import JobsUnderTest
from settings import Settings
from tests.pictures import image, size_of
from tests.waiting import eventually

PACKAGES = "jobs"


@pytest.fixture
def gallery(errand_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, with the settings of this test."""
    monkeypatch.setenv("DATA_DIR", str(errand_settings.data_dir))
    yield importlib.import_module("examples.gallery")
    del sys.modules["examples.gallery"]


@pytest.fixture
async def visitor(jobs: JobsUnderTest, gallery: ModuleType) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app on a port of its own: only there a stream comes as it is written."""
    server = uvicorn.Server(uvicorn.Config(gallery.app, port=0, log_config=None, access_log=False))
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, verify=False, timeout=60) as client:
        yield client
    server.should_exit = True
    await serving


async def test_a_photo_is_watched_on_its_way_to_the_page(
    visitor: httpx.AsyncClient, jobs: JobsUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "SHOWN_AFTER_S", 0)
    page = (await visitor.get("/")).text
    assert 'fetch("/photos"' in page and "/events`" in page
    job = (await visitor.post("/photos", files={"photo": ("a.jpg", image(600, 400))})).json()["job"]
    assert (await visitor.get("/photos/unknown")).status_code == 404
    seen: list[dict[str, Any]] = []
    async with visitor.stream("GET", f"/photos/{job}/events") as events:
        lines = events.aiter_lines()
        seen.append(await next_event(lines))
        running = asyncio.create_task(jobs.run_all())
        while seen[-1]["status"] not in ("succeeded", "failed"):
            seen.append(await next_event(lines))
    await running
    assert (seen[0]["status"], seen[-1]["status"]) == ("queued", "succeeded")
    assert "600 x 400 decoded" in [event["note"] for event in seen]
    picture = await visitor.get(f"/photos/{job}")
    assert picture.headers["content-type"] == "image/webp" and size_of(picture.content) == (480, 320)


async def next_event(lines: AsyncIterator[str]) -> dict[str, Any]:
    async for line in lines:
        if line.startswith("data:"):
            event: dict[str, Any] = json.loads(line.removeprefix("data:"))
            return event
    raise AssertionError("the stream has ended before the job")
