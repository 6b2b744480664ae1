"""The doctor beside real processes: before, beside and at the start of an API and a worker."""

from __future__ import annotations

from tests.processes.conftest import House
from tests.servers import serving
from tests.waiting import eventually, eventually_sync


def examined(house: House, **environment: str) -> tuple[int, str]:
    """The doctor's exit code and its words."""
    code = house.start("errand", "doctor", "--packages", "jobs", **environment).wait(60)
    return code, house.log("errand").read_text()


def test_it_starts_the_embedded_redis_if_none_runs_and_leaves_none(house: House) -> None:
    _, said = examined(house)
    assert f"Redis: the embedded one of {house.data_dir}" in said and "appendfsync always" in said
    assert "no worker lives" in said
    eventually_sync(house.redis_is_stopped)


def test_a_running_house_is_healthy_and_its_start_warns_of_nothing(house: House) -> None:
    house.api()
    house.worker()
    _, said = examined(house)
    logs = house.log("service").read_text() + house.log("jobs").read_text()
    # a busy machine is slow, which is no fault of the house
    assert {line.split()[1] for line in said.splitlines() if line.startswith(("warning", "note"))} <= {"round-trip"}
    assert [line for line in logs.splitlines() if "[warning" in line and "check=round-trip" not in line] == []


async def test_api_and_worker_say_at_their_start_what_is_wrong_and_serve_all_the_same(house: House) -> None:
    async with serving("valkey", "--maxmemory-policy", "allkeys-lru") as server:
        house.environment["REDIS_URL"] = server.url
        house.api()
        house.worker()
        for module in ("service", "jobs"):

            async def warned(module: str = module) -> bool:
                said = house.log(module).read_text()
                return "maxmemory-policy allkeys-lru" in said and "nothing is written to disk" in said

            await eventually(warned)
        assert house.post("/v1/jobs/webhook", json={"url": "http://127.0.0.1:9999/", "event": "x", "data": None})
        code, said = examined(house)
    assert code == 1 and "\n2 warning(s)" in said, said
