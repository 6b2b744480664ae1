"""HTTP to addresses that callers name, against a real receiver."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from errand.resources.guard import AddressGuard
from errand.resources.outbound import REPLY_LIMIT_BYTES, Outbound, OutboundFault, OutboundRefused
from tests.peers import HttpReceiver
from tests.ports import free_port

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


@pytest.fixture
async def client() -> AsyncIterator[Outbound]:
    """May reach 127.0.0.0/8 beside the Internet."""
    async with Outbound.open(AddressGuard([LOOPBACK]), connections=10) as opened:
        yield opened


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloaded"


async def post(client: Outbound, url: str, *, deadline_s: float = 5) -> bytes:
    return (await client.post(url, body=b"", headers={}, deadline_s=deadline_s)).body


@asynccontextmanager
async def answering(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The URL of a server that answers as no HTTP library would."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def written(target: Path) -> bytes:
    return target.read_bytes() if target.exists() else b""


def redirect(to: str) -> web.Response:
    return web.Response(status=302, headers={"Location": to})


async def test_a_post_sends_body_and_headers_and_returns_the_answer(client: Outbound, receiver: HttpReceiver) -> None:
    receiver.answers = [web.Response(status=418, text="tea", headers={"X-Pot": "short"})]
    reply = await client.post(f"{receiver.url}/hook", body=b"abc", headers={"X-Told": "yes"}, deadline_s=5)
    assert (reply.status, reply.body, reply.headers["X-Pot"]) == (418, b"tea", "short")
    (request,) = receiver.requests
    assert (request.method, request.path, request.body, request.headers["X-Told"]) == ("POST", "/hook", b"abc", "yes")
    assert request.headers["Accept-Encoding"] == "identity"


async def test_a_post_follows_no_redirect(client: Outbound, receiver: HttpReceiver) -> None:
    receiver.answers = [redirect("/elsewhere")]
    assert (await client.post(receiver.url, body=b"", headers={}, deadline_s=5)).status == 302
    assert [request.path for request in receiver.requests] == ["/"]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]
)
async def test_a_flood_of_answers_is_given_up_and_not_taken_apart(
    client: Outbound, target: Path, answer: bytes
) -> None:
    """Each of them costs the loop some 20 microseconds, which no deadline ends: five floods held it up for seconds."""

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(answer * 1000)
                await writer.drain()

    async with answering(flood) as url:
        with pytest.raises(OutboundFault, match="many answers came to one request"):
            await client.download(url, target, limit_bytes=100, deadline_s=10)


async def test_only_the_start_of_an_endless_answer_is_read(client: Outbound) -> None:
    hung_up_on = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        writer.close()
        hung_up_on.set()

    async with answering(endless) as url:
        assert await post(client, url) == b"x" * REPLY_LIMIT_BYTES
        await asyncio.wait_for(hung_up_on.wait(), 60)


async def test_a_deadline_bounds_an_answer_that_does_not_come(client: Outbound, receiver: HttpReceiver) -> None:
    receiver.delay_s = 60
    with pytest.raises(OutboundFault, match=r"within 0\.1 s"):
        await post(client, receiver.url, deadline_s=0.1)


async def test_a_deadline_bounds_an_answer_that_trickles(
    client: Outbound, receiver: HttpReceiver, target: Path
) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    receiver.answers = [web.Response(body=trickle()), web.Response(body=trickle())]
    with pytest.raises(OutboundFault, match=r"within 0\.2 s"):
        await post(client, receiver.url, deadline_s=0.2)
    with pytest.raises(OutboundFault, match=r"within 0\.2 s"):
        await client.download(receiver.url, target, limit_bytes=1000, deadline_s=0.2)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/", "http://nowhere.invalid/"])
async def test_a_peer_that_cannot_be_reached_is_a_fault(client: Outbound, url: str) -> None:
    with pytest.raises(OutboundFault):
        await post(client, url.format(port=free_port()))


async def test_a_peer_that_breaks_off_is_a_fault(client: Outbound) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        writer.close()

    async with answering(hang_up) as url:
        with pytest.raises(OutboundFault):
            await post(client, url)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "gopher://127.0.0.1/", "http:///", "http://a..b/", f"http://{'a' * 64}.example/"],
)
async def test_a_url_that_is_not_http_is_refused(client: Outbound, url: str) -> None:
    with pytest.raises(OutboundRefused):
        await post(client, url)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_the_guard_checks_addresses_and_what_names_resolve_to(receiver: HttpReceiver, host: str) -> None:
    async with Outbound.open(AddressGuard(), connections=10) as guarded:
        with pytest.raises(OutboundRefused, match="not public"):
            await post(guarded, receiver.url.replace("127.0.0.1", host))
    assert receiver.requests == []


async def test_neither_a_proxy_nor_cookies_are_used(
    client: Outbound, receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    url = receiver.url.replace("127.0.0.1", "localhost")  # an address alone gets no cookies
    receiver.answers = [web.Response(headers={"Set-Cookie": "who=me"})]
    await post(client, url)
    await post(client, url)
    assert ["Cookie" in request.headers for request in receiver.requests] == [False, False]


async def test_a_download_is_written_to_its_target(client: Outbound, receiver: HttpReceiver, target: Path) -> None:
    receiver.answers = [redirect("/moved"), web.Response(body=b"y" * 300_000)]
    assert await client.download(receiver.url, target, limit_bytes=300_000, deadline_s=5) == 300_000
    assert written(target) == b"y" * 300_000
    assert [request.path for request in receiver.requests] == ["/", "/moved"]


async def test_a_download_over_its_limit_is_refused(client: Outbound, receiver: HttpReceiver, target: Path) -> None:
    receiver.answers = [web.Response(body=b"y" * 300_001)]
    with pytest.raises(OutboundRefused, match="larger than 300000 bytes"):
        await client.download(receiver.url, target, limit_bytes=300_000, deadline_s=5)
    assert len(written(target)) <= 300_000


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, OutboundRefused) for status in (204, 304, 403, 404, 410)),
        *((status, OutboundFault) for status in (408, 425, 429, 500, 503)),
    ],
)
async def test_a_download_that_is_not_there_may_come_back_or_never(
    client: Outbound, receiver: HttpReceiver, target: Path, status: int, error: type[Exception]
) -> None:
    receiver.answers = [status]
    with pytest.raises(error, match=f"answered {status}"):
        await client.download(receiver.url, target, limit_bytes=100, deadline_s=5)
    assert written(target) == b""


@pytest.mark.parametrize(
    "location",
    ["http://10.0.0.1/", "//[::1]/", "http://169.254.169.254/latest/", "file:///etc/passwd", "ftp://x/", "http://["],
)
async def test_a_download_is_not_redirected_to_a_refused_address(
    client: Outbound, receiver: HttpReceiver, target: Path, location: str
) -> None:
    receiver.answers = [redirect(location)]
    with pytest.raises(OutboundRefused):
        await client.download(receiver.url, target, limit_bytes=100, deadline_s=5)


async def test_a_download_that_is_redirected_for_ever_is_refused(
    client: Outbound, receiver: HttpReceiver, target: Path
) -> None:
    receiver.answers = [redirect("/") for _ in range(20)]
    with pytest.raises(OutboundRefused):
        await client.download(receiver.url, target, limit_bytes=100, deadline_s=5)
    assert len(receiver.requests) < 10


async def test_names_that_hang_hold_up_no_other_lookup_of_the_process(
    client: Outbound, receiver: HttpReceiver, names_answer: threading.Event
) -> None:
    """Nor those of mail servers and of Redis, which the event loop looks up."""
    loop = asyncio.get_running_loop()
    # as few as libuv has
    loop.set_default_executor(ThreadPoolExecutor(max_workers=4))
    hung = [asyncio.create_task(post(client, f"http://{number}.hangs/", deadline_s=20)) for number in range(8)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            assert await loop.getaddrinfo("redis.fine", 6379)
            await post(client, receiver.url.replace("127.0.0.1", "a.fine"))
        assert not any(task.done() for task in hung)
    finally:
        names_answer.set()
    assert {type(error) for error in await asyncio.gather(*hung, return_exceptions=True)} == {OutboundFault}
