"""Rights that a Redis user lacks are named at the start, and answered 503 later; those in the docs are enough."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from structlog.testing import capture_logs

from errand.events.listener import JobEvents
from errand.job.context import Context
from errand.job.job_type import job
from errand.queue.queue import Queue
from errand.redis.connection import Refused, check_welcome
from errand.redis.rights import CALLS, missing_rights
from errand.wire import keys
from tests.conftest import OpenClient, make_settings, running_worker
from tests.servers import MAKES, Server, client_of, serving
from tests.waiting import eventually
from tests.worker.test_worker import ended
from tests.worker.test_worker_engine import Nothing, holds

HOUSE = Path(__file__).parents[2]
ALL = "~* &* +@all"


@pytest.fixture(params=MAKES)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    async with serving(request.param) as running:
        yield running


@pytest.fixture
async def operator(server: Server) -> AsyncIterator[ArqRedis]:
    async with client_of(server) as client:
        yield client


async def let(operator: ArqRedis, rule: str) -> None:
    await operator.execute_command("ACL", "SETUSER", "errand", "reset", "on", ">secret", *rule.split())  # type: ignore[no-untyped-call]


def as_errand(server: Server) -> Server:
    return ServerOfUser(server.port, server.process)


class ServerOfUser(Server):
    @property
    def url(self) -> str:
        return f"redis://errand:secret@127.0.0.1:{self.port}"


def documented_rule() -> str:
    """The rule that docs/redis.md tells operators to set."""
    found = re.search(r"ACL SETUSER errand on >PASSWORD (.*)", (HOUSE / "docs" / "redis.md").read_text())
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("rule", "missing"),
    [
        (f"{ALL} -evalsha -xadd", ["+evalsha", "+xadd"]),
        (f"{ALL} -multi", ["+multi"]),
        (f"{ALL} -script|load -subscribe", ["+script|load", "+subscribe"]),
        ("~arq:* &* +@all", ["~errand:*"]),
        ("~errand:* %R~arq:* &* +@all", ["~arq:*"]),
        ("~* resetchannels +@all", ["&errand:*"]),
        (ALL, []),
    ],
)
async def test_what_is_missing_is_named_as_an_operator_gives_it(
    server: Server, operator: ArqRedis, rule: str, missing: list[str]
) -> None:
    await let(operator, rule)
    async with client_of(as_errand(server)) as client:
        assert sorted(await missing_rights(client)) == missing
        if missing:
            with pytest.raises(Refused, match=re.escape(f"ACL SETUSER … {' '.join(await missing_rights(client))}")):
                await check_welcome(client)
        else:
            await check_welcome(client)
    assert await operator.dbsize() == 0, "the look leaves nothing behind"


async def test_a_user_without_any_right_is_refused(server: Server, operator: ArqRedis) -> None:
    await let(operator, "nocommands")
    async with client_of(as_errand(server)) as client:
        with pytest.raises(Refused, match=r"Redis refuses what Errand needs: .*'ping'"):
            await check_welcome(client)


def test_each_command_of_a_script_is_asked_for() -> None:
    scripts = "\n".join(path.read_text() for path in (HOUSE / "errand").rglob("*.lua"))
    called = {name.lower() for name in re.findall(r"(?:redis\.p?call\(|call_or_reset\([^\n]*?, )'([A-Z]+)'", scripts)}
    assert len(called) > 30
    assert called <= set(re.findall(r"\w+", CALLS))


@job(max_tries=2)
async def greets(ctx: Context, args: Nothing) -> None:
    await ctx.progress(0.5)


async def test_the_documented_rights_are_enough(server: Server, operator: ArqRedis) -> None:
    await let(operator, documented_rule())
    async with client_of(as_errand(server)) as client:
        assert await missing_rights(client) == []
        await at_work(as_errand(server), client)
    assert await denied(operator) == set()


async def test_the_rights_that_are_asked_for_are_all_that_is_needed(server: Server, operator: ArqRedis) -> None:
    commands = {call.split()[0] for call in re.split("[;\n]", CALLS.strip())} | {"multi", "exec", "discard"}
    rights = " ".join(f"+{name}" for name in sorted(commands))
    await let(operator, f"~arq:* ~errand:* &errand:* {rights}")
    async with client_of(as_errand(server)) as client:
        assert await missing_rights(client) == []
        await at_work(as_errand(server), client)
    # redis-py names itself to the server, if it may; arq logs the size of the database
    assert await denied(operator) <= {"client|setinfo", "info", "config|get", "dbsize"}


async def denied(operator: ArqRedis) -> set[str]:
    """What the server has refused."""
    return {entry[b"object"].decode() for entry in await log_of(operator)}


async def log_of(operator: ArqRedis) -> list[dict[bytes, bytes]]:
    flat = await operator.execute_command("ACL", "LOG")  # type: ignore[no-untyped-call]
    return [entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True)) for entry in flat]


async def at_work(server: Server, client: ArqRedis) -> None:
    """A worker that runs, and what a client does with jobs."""
    queue = Queue(client, ended_ttl_s=60)
    events = JobEvents(client, queues=[keys.queue("default")])
    async with running_worker(server.url, job_types=[greets]), events.listening():
        done = await queue.enqueue("greets", {})
        assert (await ended(client, done.job_id)).status == "succeeded"
        later = await queue.enqueue("greets", {}, delay_ms=60_000)
        await queue.pause()
        await queue.resume()
        await queue.cancel(later.job_id)


async def test_a_right_that_is_withdrawn_is_an_outage_and_is_logged_once(
    server: Server, operator: ArqRedis, open_client: OpenClient, tmp_path: Path
) -> None:
    await let(operator, ALL)
    url = as_errand(server).url
    async with (
        client_of(as_errand(server)) as client,
        open_client(make_settings(tmp_path, redis_url=url), redis_url=url) as http,
        running_worker(url, job_types=[greets], poll_delay=0.05),
    ):
        assert (await http.get("/v1/stats")).status_code == 200
        with capture_logs() as lines:
            for rule in (f"{ALL} -zadd", "~arq:* &* +@all", f"{ALL} -@scripting"):
                await let(operator, rule)
                answer = await http.post(
                    "/v1/jobs/webhook", json={"url": "https://h.example", "event": "e", "data": {}}
                )
                assert answer.status_code == 503, (rule, answer.text)
                assert answer.headers["retry-after"] == "2"
            await eventually(holds(lambda: any("waiting for it" in line["event"] for line in lines)))
            await asyncio.sleep(1)
        errors = [line for line in lines if line["log_level"] in ("error", "warning")]
        assert len(errors) < 10, errors
        await let(operator, ALL)
        put = await Queue(client, ended_ttl_s=60).enqueue("greets", {})
        assert (await ended(client, put.job_id)).status == "succeeded"
