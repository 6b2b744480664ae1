"""Sentry, as a program that uses it sees it: what its transport is given of jobs that fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import asyncio, json, os, sys
import sentry_sdk
from pydantic import BaseModel, SecretStr
from sentry_sdk.transport import Transport
from errand import Context, Delays, Fail, Retry, job
from errand.job.catalog import Catalog, discover
from errand.queue.queue import Queue
from errand.redis.connection import connect
from errand.worker.worker import Worker

SENT = []


class Collecting(Transport):
    def capture_envelope(self, envelope):
        SENT.extend(item.payload.json for item in envelope.items if item.payload.json)


class Card(BaseModel):
    number: SecretStr


@job(max_tries=2, retry=Delays([0]))
async def pay(ctx: Context, args: Card) -> None:
    taken = args.number.get_secret_value()
    try:
        raise KeyError(f"card {taken} is not known")
    except KeyError as error:
        raise ValueError(f"card {taken} is refused") from error


@job(max_tries=2, retry=Delays([0]))
async def patient(ctx: Context, args: Card) -> None:
    if ctx.attempt == 1:
        raise Retry("not yet")


async def main(url):
    pool = connect(url, reply_timeout_s=10)
    queue = Queue(pool, ended_ttl_s=60)
    hooks = discover(["errand.sentry"]).hooks
    worker = Worker(job_types=[pay, patient], hooks=hooks, redis_pool=pool, burst=True, poll_delay=0.01,
                    job_serializer=pool.job_serializer, job_deserializer=pool.job_deserializer, handle_signals=False)
    for job_type in (pay, patient):
        await queue.enqueue(job_type.name, {"number": "4111-1111"})
    await worker.async_run()
    await worker.close()


# Sentry's own integration of Arq comes along by itself: it must not be in the way
sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Collecting, traces_sample_rate=1.0)
asyncio.run(main(sys.argv[1]))
print(json.dumps(SENT))
"""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a program has sent that runs two jobs; one of its own, as Sentry changes classes for good."""
    from tests.bench.server import private_redis

    program = tmp_path_factory.mktemp("sentry") / "program.py"
    program.write_text(PROGRAM)
    root = Path(__file__).parent.parent.parent
    with private_redis() as url:
        run = subprocess.run(
            [sys.executable, str(program), url],
            capture_output=True,
            text=True,
            check=False,
            cwd=root,
            env={"PATH": "", "PYTHONPATH": str(root)},
        )
    assert run.returncode == 0, run.stderr
    collected: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    return collected


def test_each_failed_attempt_is_an_event_that_names_its_job(sent: list[dict[str, Any]]) -> None:
    events = [event for event in sent if event.get("exception")]
    assert [event["tags"]["job.outcome"] for event in events] == ["retry", "failed"]
    assert [event["contexts"]["job"]["attempt"] for event in events] == [1, 2]
    assert {event["contexts"]["job"]["type"] for event in events} == {"pay"}
    assert {event["exception"]["values"][-1]["type"] for event in events} == {"ValueError"}


def test_no_secret_of_a_job_is_sent(sent: list[dict[str, Any]]) -> None:
    assert [len(event["exception"]["values"]) for event in sent if event.get("exception")] == [2, 2]
    assert "4111-1111" not in json.dumps(sent)


def test_each_attempt_is_a_transaction(sent: list[dict[str, Any]]) -> None:
    transactions = [event["transaction"] for event in sent if event.get("type") == "transaction"]
    assert sorted(transactions) == ["patient", "patient", "pay", "pay"]
