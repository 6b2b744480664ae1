"""The API over the wire: what only a real connection shows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.processes.conftest import House
from tests.waiting import NEVER_S


def test_a_connection_goes_on_after_a_head(house: House) -> None:
    """A content that was sent all the same would be taken for the next answer."""
    house.api()
    with httpx.Client(base_url=house.url, timeout=NEVER_S) as client:
        for _ in range(3):
            head = client.head("/v1/job-types")
            assert (head.status_code, head.content) == (200, b"") and int(head.headers["content-length"]) > 100
            assert client.get("/healthz").json() == {"status": "ok"}


def test_two_api_processes_count_a_clients_requests_together(new_house: Callable[..., House]) -> None:
    house = new_house(environment={"RATE_LIMIT": "20/h"})
    house.api()
    other = replace(house, port=free_port())
    other.api()
    urls = [f"{one.url}/v1/job-types" for one in (house, other)]
    statuses = [house.http.get(urls[number % 2]).status_code for number in range(30)]
    assert statuses == [200] * 20 + [429] * 10


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_memory_that_one_upload_freed_is_there_for_the_next(house: House) -> None:
    """Else the kernel hands out hundreds of pages again, and clears them: a tenth of what an upload costs."""
    api = house.api()
    args, file = {"args": '{"sizes": [{"width": 8}]}'}, ("a.jpeg", b"\xff\xd8\xff" + bytes(4 * 1024**2))

    def pages() -> int:
        return int(Path(f"/proc/{api.pid}/stat").read_text().rpartition(")")[2].split()[7])

    def upload() -> int:
        sent = house.http.post(f"{house.url}/v1/jobs/resize", data=args, files={"file": file}, params={"delay": 3600})
        return sent.status_code

    def pages_of_each() -> float:
        before = pages()
        assert [upload() for _ in range(10)] == [202] * 10
        return (pages() - before) / 10

    pages_of_each()
    # the least of some: the first collection of garbage copies what the program has in common with what started it
    assert min(pages_of_each() for _ in range(3)) < 100
