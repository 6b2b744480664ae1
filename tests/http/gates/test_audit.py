"""Who changed what, and whose credentials were refused: in the log, and counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from errand.http.gates.audit import LINES_IN_A_MINUTE
from tests.conftest import OpenClient, make_settings
from tests.http.answers_seen import LETTER

OLD, NEW, READER, PAST = "ci-key-0123456789", "ci-key-9876543210", "reader-0123456789", "past-key-0123456789"
KEYS = f"ci={OLD};expires=2999-01-31,ci={NEW},{READER}:read,late={PAST};expires=2020-01-31T12:00:00+01:00"


@pytest.fixture
async def client(
    open_client: OpenClient, tmp_path: Path, redis: ArqRedis, redis_url: str
) -> AsyncIterator[httpx.AsyncClient]:
    guarded = make_settings(tmp_path, redis_url=redis_url, api_keys=KEYS)
    async with open_client(guarded, client=("203.0.113.7", 50_000)) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_each_change_is_logged_with_the_name_of_its_key(client: httpx.AsyncClient) -> None:
    put = await client.post("/v1/jobs/welcome_email?delay=1h", json=LETTER, headers=bearer(OLD))
    job = f"/v1/jobs/{put.json()['id']}"
    with capture_logs() as lines:
        for key, path in ((OLD, f"{job}/cancel"), (NEW, f"{job}/cancel"), (NEW, "/v1/queues/default/pause")):
            await client.post(path, headers=bearer(key))
        await client.get(job, headers=bearer(READER))
        await client.post("/v1/jobs/welcome_email?delay=1h", json=LETTER, headers=bearer(OLD))
    said = [line for line in lines if line["event"] == "changed"]
    assert [(line["who"], line["action"], line["path"], line["status"]) for line in said] == [
        ("ci", "cancel_job", f"{job}/cancel", 200),
        ("ci", "cancel_job", f"{job}/cancel", 409),
        ("ci", "pause_queue", "/v1/queues/default/pause", 200),
    ]
    assert {line["address"] for line in said} == {"203.0.113.7"}


async def test_each_refused_credential_is_logged_and_counted_and_the_key_is_not_shown(
    client: httpx.AsyncClient,
) -> None:
    wrong = "wrong-key-0123456789"
    with capture_logs() as lines:
        await client.get("/v1/jobs")
        await client.head("/v1/jobs", headers=bearer(wrong))
        await client.post("/v1/jobs/welcome_email", json=LETTER, headers=bearer(READER))
        late = await client.get("/docs", headers=bearer(PAST))
    assert late.status_code == 401 and "expired" in late.json()["detail"]
    said = [line for line in lines if line["event"] == "credential refused"]
    assert [line["reason"] for line in said] == ["missing", "wrong", "scope", "expired"]
    assert said[2]["who"].startswith("sha256:") and wrong not in str(lines) and READER not in str(lines)
    metrics = (await client.get("/metrics", headers=bearer(READER))).text
    for reason, number in (("missing", 1), ("wrong", 1), ("scope", 1), ("expired", 1), ("elsewhere", 0)):
        assert f'errand_refused_credentials_total{{reason="{reason}"}} {number}\n' in metrics


async def test_a_flood_of_refused_credentials_is_counted_and_does_not_fill_the_log(client: httpx.AsyncClient) -> None:
    with capture_logs() as lines:
        for _ in range(LINES_IN_A_MINUTE * 3):
            assert (await client.get("/v1/jobs")).status_code == 401
    # the minute may have changed meanwhile
    assert len([line for line in lines if line["event"] == "credential refused"]) <= 2 * LINES_IN_A_MINUTE
    metrics = (await client.get("/metrics", headers=bearer(READER))).text
    assert f'{{reason="missing"}} {LINES_IN_A_MINUTE * 3}\n' in metrics
    assert (await client.get("/v1/jobs", headers=bearer(READER))).status_code == 200
