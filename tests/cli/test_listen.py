"""`errand listen`: what an API was sent reaches a program on the developer's machine, signed, with a line for each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks
from arq.connections import ArqRedis
from typer.testing import CliRunner

from errand.cli import listen as listening
from errand.cli.listen import Listening, ListenRefused
from errand.cli.main import app
from errand.webhooks.secret import new_secret
from errand.webhooks.sent_events import MAX_LISTENERS
from errand.wire import keys
from settings import Settings
from tests.conftest import make_settings
from tests.http.routes.watching import Service, serving
from tests.peers import HttpReceiver, Received
from tests.ports import free_port
from tests.waiting import eventually

SECRET = new_secret()


@pytest.fixture
async def api(settings: Settings, redis: ArqRedis, redis_url: str) -> AsyncIterator[Service]:
    async with serving(settings, redis_url) as service:
        yield service


@asynccontextmanager
async def listener(redis: ArqRedis, **options: Any) -> AsyncIterator[list[str]]:
    """The lines of a listener that has connected."""
    lines: list[str] = []
    task = asyncio.create_task(listening._listen(Listening(secret=SECRET, **options), lines.append))

    async def connected() -> bool:
        return bool(await redis.exists(keys.WEBHOOK_LISTENED))

    try:
        await eventually(connected)
        yield lines
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def send(client: httpx.AsyncClient, **event: Any) -> str:
    answer = await client.post("/v1/webhook-events", json={"event": "invoice.paid", "data": {"id": 2**70}, **event})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def verified(request: Received) -> Any:
    headers = {name.lower(): value for name, value in request.headers.items()}
    return standardwebhooks.Webhook(SECRET).verify(request.body, headers)


async def test_an_event_is_posted_signed_though_no_endpoint_receives_it(
    redis: ArqRedis, api: Service, receiver: HttpReceiver
) -> None:
    receiver.answers = [200, 418]
    async with listener(redis, api=api.url, forward=f"{receiver.url}/hooks") as lines:
        sent = [await send(api.client), await send(api.client, event="user.created", data="Žofie")]
        requests = await receiver.wait_for(2)

        async def said() -> bool:
            return len(lines) == 2

        await eventually(said)
    assert [request.headers["webhook-id"] for request in requests] == sent
    assert [verified(request)["data"] for request in requests] == [{"id": 2**70}, "Žofie"]
    assert verified(requests[0]).keys() == {"type", "timestamp", "data"}
    assert {request.path for request in requests} == {"/hooks"}
    for line, status in zip(lines, ("invoice.paid .* 200 OK", "user.created .* 418"), strict=True):
        assert re.search(status, line)


async def test_it_posts_the_bytes_that_an_endpoint_gets(
    redis: ArqRedis, api: Service, receiver: HttpReceiver, run_worker: Any
) -> None:
    from jobs.webhook import webhook

    await api.client.put("/v1/webhook-endpoints/one", json={"url": f"{receiver.url}/endpoint"})
    async with listener(redis, api=api.url, forward=f"{receiver.url}/here"), run_worker([webhook]):
        await send(api.client, data={"b": 1.0, "a": [1e-7, "Ž", None]})
        one, other = await receiver.wait_for(2)
    assert one.body == other.body and {one.path, other.path} == {"/endpoint", "/here"}


async def test_it_takes_the_events_and_the_tenant_that_it_is_asked_for(
    redis: ArqRedis, api: Service, receiver: HttpReceiver
) -> None:
    async with listener(redis, api=api.url, forward=receiver.url, events=["invoice.*"], tenant="acme"):
        await send(api.client)
        await send(api.client, event="user.created", tenant="acme")
        await send(api.client, tenant="acme", data="this one")
        (request,) = await receiver.wait_for(1)
    assert verified(request)["data"] == "this one"


async def test_it_connects_again_and_receives_what_it_missed(
    redis: ArqRedis,
    settings: Settings,
    redis_url: str,
    client: httpx.AsyncClient,
    receiver: HttpReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(listening, "LAST_WAIT_S", 0.05)
    port = free_port()
    async with serving(settings, redis_url, port=port) as api:
        async with listener(redis, api=api.url, forward=receiver.url) as lines:
            first = await send(api.client)
            await receiver.wait_for(1)
            api.server.should_exit = True

            async def lost() -> bool:
                return any("again in" in line for line in lines)

            await eventually(lost)
            meanwhile = await send(client)
            async with serving(settings, redis_url, port=port) as again:
                later = await send(again.client)
                requests = await receiver.wait_for(3)
    assert [request.headers["webhook-id"] for request in requests] == [first, meanwhile, later]


async def test_a_program_that_is_not_there_costs_a_line(redis: ArqRedis, api: Service, receiver: HttpReceiver) -> None:
    async with listener(redis, api=api.url, forward=f"http://127.0.0.1:{free_port()}") as lines:
        await send(api.client)

        async def said() -> bool:
            return bool(lines)

        await eventually(said)
    assert re.search(r"invoice\.paid msg_\S+ → .*onnect", lines[0])


async def test_nothing_is_kept_while_nobody_listens(redis: ArqRedis, api: Service) -> None:
    await send(api.client)
    assert await redis.exists(keys.WEBHOOK_SENT) == 0


async def test_a_process_has_so_many_listeners_and_no_more(redis: ArqRedis, api: Service) -> None:
    sent = api.shared.sent_events
    for _ in range(MAX_LISTENERS - 1):
        sent.enter()
    async with api.watching("/v1/webhook-events"):
        refused = await api.client.get("/v1/webhook-events")
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/too-many-listeners")
    assert refused.headers["retry-after"]

    async def left() -> bool:
        return sent._listeners == MAX_LISTENERS - 1

    await eventually(left)


@pytest.mark.parametrize("cursor", ["null", "1-", "9" * 20 + "-0"])
async def test_a_position_that_no_stream_has_named_is_none(redis: ArqRedis, api: Service, cursor: str) -> None:
    async with api.watching("/v1/webhook-events", after=cursor) as stream:
        sent = await send(api.client)
        assert [event.data["id"] for event in await stream.events(1)] == [sent]


async def test_what_the_api_refuses_ends_it(tmp_path: Path, redis: ArqRedis, redis_url: str) -> None:
    settings = make_settings(tmp_path, api_keys="k" * 20)
    async with serving(settings, redis_url) as api:
        with pytest.raises(ListenRefused, match="Bearer"):
            await listening._listen(Listening(api=api.url, forward="http://localhost", secret=SECRET), print)
        options = Listening(api=api.url, forward="http://localhost", secret=SECRET, key="k" * 20, events=["not so"])
        with pytest.raises(ListenRefused, match="name of an event"):
            await listening._listen(options, print)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Missing option '--forward'"),
        (["--forward", "localhost:3000"], "--forward must be a URL"),
        (["--forward", "http://["], "--forward must be a URL"),
        (["--forward", "http://localhost", "--api", "x"], "--api must be a URL"),
        (["--forward", "http://localhost", "--secret", "whsec_x"], "--secret must be whsec_"),
    ],
)
def test_a_command_line_that_says_nothing_useful_is_refused(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    refused = CliRunner().invoke(app, ["listen", *options])
    assert refused.exit_code == 2 and message in refused.output.replace("│", "").replace("\n", " ")


def test_it_says_what_to_verify_with_and_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setattr(listening, "listen", lambda _, say: say("a line"))
    first, again = [CliRunner().invoke(app, ["listen", "--forward", "http://localhost:3000"]).stdout for _ in "ab"]
    assert first == again and re.match(r"verify with +whsec_\S{44}\n", first) and first.endswith("a line\n")
