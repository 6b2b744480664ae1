"""The API keeps to its own OpenAPI document for every request: schemathesis against a live service."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract import run
from tests.processes.conftest import House

SHORT = ["--generation-deterministic", "--max-examples", "3"]
"""No limit of time: on a busy machine it would leave some out. `make fuzz` goes on for as long as it is given."""

ALL = "examples,coverage,fuzzing,stateful"
OF_ALL_SORTS = ("--phases", ALL)
THAT_FIT = ("--phases", "coverage", "--mode", "positive")
"""Each operation is tried: without keys all that is different is who may ask, not what is a mistake in a request.
`make fuzz` tries those there, too.
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("key", "requests"), [(None, THAT_FIT), (run.KEY, OF_ALL_SORTS)], ids=["without API keys", "with one"]
)
def test_the_service_keeps_to_its_document_for_every_request(
    new_house: Callable[..., House], key: str | None, requests: tuple[str, ...]
) -> None:
    house = new_house(
        environment={
            "WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
            "CPU_PROCESSES": "1",
            "REFUSAL_LIMIT": "100000/s",  # it asks without a key again and again
            **({"API_KEYS": key} if key else {}),
        }
    )
    house.api()
    house.worker()
    # it is made for the first who asks: schemathesis waits ten seconds for it
    house.http.get(f"{house.url}/openapi.json", headers={"Authorization": f"Bearer {key}"}).raise_for_status()
    found = run.run(house, *SHORT, *requests, key=key)
    assert found.passed or found.is_slow_only, found.output[-20_000:]
    operations = found.report["operations"]
    assert operations["tested"] == operations["total"] > 30
    ran = {name for name, phase in found.report["phases"].items() if phase["status"] != "skip"}
    assert ran == {*requests[1].split(",")}
