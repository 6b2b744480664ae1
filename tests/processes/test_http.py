"""The API over the wire: what only a real connection shows."""

from __future__ import annotations

import httpx

from tests.processes.conftest import House


def test_a_connection_goes_on_after_a_head(house: House) -> None:
    """A content that was sent all the same would be taken for the next answer."""
    house.api()
    with httpx.Client(base_url=house.url) as client:
        for _ in range(3):
            head = client.head("/v1/job-types")
            assert (head.status_code, head.content) == (200, b"") and int(head.headers["content-length"]) > 100
            assert client.get("/healthz").json() == {"status": "ok"}
