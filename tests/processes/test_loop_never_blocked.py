"""CPU work must not delay I/O jobs on the same worker: it is done in processes of the pool, never on the loop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.pictures import image
from tests.processes.conftest import House

IMAGES = 6
WEBHOOKS = 10


def test_webhooks_go_out_while_images_are_resized(house: House) -> None:
    """How long they wait meanwhile `make bench` measures; here it is who did the work, and in which order."""
    house.api()
    worker = house.worker(CPU_PROCESSES="1")
    before_s = _cpu_s(worker.pid)
    photo = image(4000, 3000)  # 12 megapixels
    resizes = [_resize(house, photo) for _ in range(IMAGES)]
    hooks = [house.ended(_webhook(house)) for _ in range(WEBHOOKS)]
    ends = [house.ended(resize) for resize in resizes]

    assert {job["status"] for job in (*hooks, *ends)} == {"succeeded"}
    assert hooks[0]["finished_at"] < ends[-1]["finished_at"], "the first was put after all resizes"
    pool_s = max(_cpu_s(child) for child in _children_of(worker.pid))
    assert _cpu_s(worker.pid) - before_s < pool_s / 2, "the worker itself has rendered"


def _resize(house: House, photo: bytes) -> dict[str, Any]:
    args = '{"sizes": [{"width": 2400, "sharpen": 1}]}'  # seconds of work, beside which the worker's own is little
    return house.post("/v1/jobs/resize", files={"file": ("photo.jpg", photo)}, data={"args": args})


def _webhook(house: House) -> dict[str, Any]:
    receiver = f"http://127.0.0.1:{house.sink_port}/"
    return house.post("/v1/jobs/webhook", json={"url": receiver, "event": "tick", "data": None})


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _cpu_s(pid: int) -> float:
    """What its own threads have computed, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
