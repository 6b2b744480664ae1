"""Secrets among a job's args reach its function, and nobody else: no answer, no log line, no error shows one."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog
from arq.connections import ArqRedis

from errand.process import logs
from errand.queue.queue import Queue
from errand.secrets.redaction import STARS
from settings import Settings
from tests import vault
from tests.conftest import OpenClient, RunWorker
from tests.http.answers_seen import faulty_fields

TOKEN, PIN, PASSWORD, HEADER = 'tok-5d1"f7\\a0', "pin-8c21e4", "pass-wörd-77", "hdr-90aa13"
SECRETS = (TOKEN, PIN, PASSWORD, HEADER)
LOGIN = {
    "url": "https://bank.example/login",
    "token": TOKEN,
    "pin": PIN,
    "accounts": [{"user": "ada", "password": PASSWORD}],
    "headers": {"x-api-key": HEADER},
}
SHOWN = {
    "url": "https://bank.example/login",
    "token": STARS,
    "pin": STARS,
    "accounts": [{"user": "ada", "password": STARS}],
    "headers": {"x-api-key": STARS},
}


def spilt(text: str) -> list[str]:
    """What of the secrets stands in a text, however that writes the rest of them."""
    return [start for start in (secret[:6] for secret in SECRETS) if start in text]


class Heard:
    """All that the service answered."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def note(self, answer: httpx.Response) -> None:
        await answer.aread()
        self.texts.append(f"{answer.headers}{answer.text}")


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(params=["console", "json"])
def logged(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Logs as a process of ours does; gives all that was written."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    before = structlog.get_config()
    logs.configure(level="debug", form=request.param)
    # a logger that keeps its processors is deaf to what later tests ask of it
    structlog.configure(cache_logger_on_first_use=False)
    yield lambda: "".join(capfd.readouterr())
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook = hook


@pytest.fixture
async def bank(open_client: OpenClient, settings: Settings, heard: Heard) -> AsyncIterator[httpx.AsyncClient]:
    """The service with the job types of the vault, all its answers noted."""
    async with open_client(settings.model_copy(update={"job_packages": ("tests.vault",)})) as client:
        client.event_hooks["response"].append(heard.note)
        yield client


@asynccontextmanager
async def working(run_worker: RunWorker) -> AsyncIterator[None]:
    async with run_worker([vault.log_in, vault.spill, vault.spill_in_control, vault.give_away]):
        yield


async def ended(client: httpx.AsyncClient, type_name: str) -> dict[str, Any]:
    place = (await client.post(f"/v1/jobs/{type_name}", json=LOGIN)).headers["location"]
    job: dict[str, Any] = (await client.get(place, params={"wait": 10})).json()
    return job


async def test_secrets_reach_the_function_as_they_were_sent(
    bank: httpx.AsyncClient, run_worker: RunWorker, redis: ArqRedis
) -> None:
    vault.Seen.logins.clear()
    async with working(run_worker):
        assert (await ended(bank, "log_in"))["status"] == "succeeded"
        ids = (await bank.post("/v1/jobs/log_in/batch", json=[LOGIN, {"token": "other"}])).json()["ids"]
        for job_id in ids:
            await bank.get(f"/v1/jobs/{job_id}", params={"wait": 10})
        await bank.put("/v1/schedules/s", json={"type": "log_in", "args": LOGIN, "cron": "0 0 1 1 *"})
        place = (await bank.post("/v1/schedules/s/trigger")).headers["location"]
        await bank.get(place, params={"wait": 10})
    whole = vault.Login.model_validate(LOGIN)
    assert whole.accounts[0].password.get_secret_value() == PASSWORD
    assert vault.Seen.logins.count(whole) == 3 and len(vault.Seen.logins) == 4
    assert vault.Seen.logins != [whole] * 4


async def test_a_result_shows_none(bank: httpx.AsyncClient, run_worker: RunWorker) -> None:
    async with working(run_worker):
        job = await ended(bank, "give_away")
    assert job["result"] == {"texts": [f"the token is {STARS}"], STARS: 1, "number": 7}


async def test_no_answer_and_no_log_line_shows_one(
    logged: Callable[[], str], bank: httpx.AsyncClient, run_worker: RunWorker, heard: Heard
) -> None:
    async with working(run_worker):
        jobs = [await ended(bank, name) for name in ("log_in", "spill", "spill_in_control")]
        put = await bank.post("/v1/jobs/log_in", params={"delay": "1h"}, json=LOGIN)
        await bank.post(f"{put.headers['location']}/cancel")
        await bank.post("/v1/jobs/log_in/batch", json=[LOGIN])
        schedule = await bank.put("/v1/schedules/s", json={"type": "log_in", "args": LOGIN, "cron": "* * * * *"})
        await bank.post("/v1/schedules/s/trigger")
        for path in ("/v1/schedules", "/v1/job-types", "/openapi.json", "/v1/workers", put.headers["location"]):
            await bank.get(path)
    assert put.json()["args"] == jobs[0]["args"] == jobs[1]["args"] == schedule.json()["args"] == SHOWN
    assert [job["status"] for job in jobs] == ["succeeded", "failed", "failed"]
    assert jobs[0]["progress"]["note"] == f"half way with {STARS}"
    assert jobs[0]["result"] == f"logged in with {STARS}"
    assert f"KeyError: '{STARS}'" in jobs[1]["error"]["traceback"] and jobs[1]["error"]["message"].startswith("xxx")
    assert jobs[2]["attempts"][0]["error"]["message"] == f"{STARS} was refused"
    output = logged()
    assert "spill_in_control" in output and "logging in" in output
    for text in (*heard.texts, output):
        assert spilt(text) == []


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ({**LOGIN, "token": f"bad-{TOKEN}"}, "token"),
        ({**LOGIN, "token": [TOKEN]}, "token"),
        ({**LOGIN, "pin": {"not": PIN}}, "pin"),
        ({**LOGIN, "accounts": [{"password": PASSWORD}]}, "accounts.0.user"),
        ({**LOGIN, "token": STARS}, ""),
        ({**LOGIN, "accounts": [{"user": "ada", "password": STARS}]}, ""),
    ],
)
async def test_what_is_wrong_with_a_secret_is_said_without_it(
    logged: Callable[[], str],
    bank: httpx.AsyncClient,
    heard: Heard,
    redis: ArqRedis,
    args: dict[str, Any],
    field: str,
) -> None:
    one = await bank.post("/v1/jobs/log_in", json=args)
    batch = await bank.post("/v1/jobs/log_in/batch", json=[LOGIN, args])
    schedule = await bank.put("/v1/schedules/s", json={"type": "log_in", "args": args, "cron": "* * * * *"})
    for answer, place in ((one, "body"), (batch, "body.1"), (schedule, "body.args")):
        assert faulty_fields(answer)[0].startswith(f"{place}.{field}".rstrip("."))
    for text in (*heard.texts, logged()):
        assert spilt(text) == []
    kept = await redis.keys("*")
    assert [key for key in kept if not key.startswith(b"errand:audit:")] == []
    for key in kept:
        assert spilt(repr(await redis.xrange(key))) == []


async def test_of_a_type_that_is_not_known_no_value_is_shown(
    client: httpx.AsyncClient, redis: ArqRedis, settings: Settings
) -> None:
    put = await Queue(redis, ended_ttl_s=60).enqueue("log_in", LOGIN)
    answer = await client.get(f"/v1/jobs/{put.job_id}")
    assert answer.json()["args"] == dict.fromkeys(LOGIN, STARS)
    assert spilt(answer.text) == []
