"""CPU work must not delay I/O jobs on the same worker: the loop is never blocked."""

from __future__ import annotations

import statistics
from datetime import datetime
from typing import Any

from tests.pictures import image
from tests.processes.conftest import House

IMAGES = 50
FEWEST_WEBHOOKS = 20
LATEST_START_S = 0.1
"""How long after it was due a webhook may begin while every process of the pool is busy."""


def test_webhooks_begin_on_time_while_fifty_images_are_resized(house: House) -> None:
    house.api()
    house.worker()
    photo = image(4000, 3000)  # 12 megapixels
    resizes = [_resize(house, photo) for _ in range(IMAGES)]
    hooks = []
    while house.get(resizes[-1]["id"])["status"] in ("queued", "in_progress"):
        hooks.append(_webhook(house))
    starts_s = [_started_late_s(house.ended(hook)) for hook in hooks]

    assert [house.get(job["id"])["status"] for job in resizes] == ["succeeded"] * IMAGES
    assert len(hooks) >= FEWEST_WEBHOOKS, "the images were done too soon to measure anything"
    figures = f"{len(hooks)} webhooks: median {statistics.median(starts_s):.3f} s, latest {max(starts_s):.3f} s late"
    assert max(starts_s) < LATEST_START_S, figures


def _resize(house: House, photo: bytes) -> dict[str, Any]:
    args = '{"sizes": [{"width": 800}]}'
    return house.post("/v1/jobs/resize", files={"file": ("photo.jpg", photo)}, data={"args": args})


def _webhook(house: House) -> dict[str, Any]:
    receiver = f"http://127.0.0.1:{house.sink_port}/"
    return house.post("/v1/jobs/webhook", json={"url": receiver, "event": "tick", "data": None})


def _started_late_s(job: dict[str, Any]) -> float:
    first = job["attempts"][0]
    return (datetime.fromisoformat(first["started_at"]) - datetime.fromisoformat(first["due_at"])).total_seconds()
