"""What a client can do to a connection: endless heads, slow ones, bodies that stop coming."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from arq.connections import ArqRedis
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from errand.server.http_protocol import HEAD_LIMIT_BYTES, HEADERS_LIMIT, LEAST_BYTES_PER_S, URL_LIMIT_BYTES, protocol
from settings import Settings
from tests.apps import app_with
from tests.http.answers_seen import LETTER, stored_files
from tests.waiting import NEVER_S, eventually

TIMEOUT_S = 0.4
BODY = json.dumps(LETTER).encode()
POST = b"POST /v1/jobs/welcome_email HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
UPLOAD = (
    b"POST /v1/jobs/resize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
)


@pytest.fixture
async def port(settings: Settings, redis: ArqRedis, redis_url: str) -> AsyncIterator[int]:
    """The service as uvicorn serves it, with a short time limit."""
    async with served(settings, redis_url) as port:
        yield port


@asynccontextmanager
async def served(settings: Settings, redis_url: str, *, timeout_s: float = TIMEOUT_S) -> AsyncIterator[int]:
    """Its port, with other settings.

    Started and ended here, not by uvicorn's `serve`: its loops look ten times a second whether they are to end.
    """
    app = app_with(settings, redis_url=redis_url)
    config = uvicorn.Config(app, port=0, http=protocol(timeout_s), log_config=None, access_log=False)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    await server.on_tick(0)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.servers[0].close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        for task in (tasks := list(server.server_state.tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(server.server_state.connections):
            connection.transport.close()
        await server.lifespan.shutdown()


class Connection:
    """A client that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """The next answer: its status, headers and JSON."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        content = await self._reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(content)

    async def is_closed(self, *, within_s: float = NEVER_S) -> bool:
        """The server has closed and said nothing more; with a reset, if more was sent than it has read."""
        with contextlib.suppress(ConnectionResetError):
            return await asyncio.wait_for(self._reader.read(), within_s) == b""
        return True


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def refused(connection: Connection, status: int, kind: str) -> None:
    """It is that problem, and the end of the connection."""
    given, headers, details = await asyncio.wait_for(connection.answer(), NEVER_S)
    assert (given, details["type"], details["status"]) == (status, f"/problems/{kind}", status)
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close" and headers["x-content-type-options"] == "nosniff"
    assert await connection.is_closed()


def chunks_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("chunk_bytes", [1 << 30, 5_000])
@pytest.mark.parametrize(
    ("head", "status", "kind"),
    [
        (GET + b"X-Long: " + b"a" * HEAD_LIMIT_BYTES, 431, "request-header-fields-too-large"),
        (GET + b"X-Many: a\r\n" * (HEADERS_LIMIT + 1), 431, "request-header-fields-too-large"),
        (GET.replace(b"z ", b"z?" + b"a" * URL_LIMIT_BYTES + b" "), 414, "uri-too-long"),
        (b"GET /healthz nonsense\r\n", 400, "bad-request"),
    ],
)
async def test_a_head_over_a_limit_is_refused_however_it_comes(
    port: int, head: bytes, status: int, kind: str, chunk_bytes: int
) -> None:
    async with connected(port) as connection:
        for chunk in chunks_of(head + b"\r\n\r\n", chunk_bytes):
            await connection.send(chunk)
            await asyncio.sleep(0)
        await refused(connection, status, kind)


@pytest.mark.parametrize("endless", [b"X-Header: value\r\n", b"a"])
async def test_a_head_without_an_end_is_cut_off_and_not_kept(port: int, endless: bytes) -> None:
    async with connected(port) as connection:
        await connection.send(GET + b"X: ")
        closing, sent = asyncio.create_task(connection.is_closed()), 0
        while not closing.done() and sent < 100 * HEAD_LIMIT_BYTES:
            with contextlib.suppress(ConnectionError):
                await connection.send(endless * 100)
            sent += 100 * len(endless)
            await asyncio.sleep(0)
        # what was answered may be lost: the connection is reset if more comes
        await asyncio.gather(closing, return_exceptions=True)
        assert sent < 10 * HEAD_LIMIT_BYTES


async def test_heads_and_bodies_up_to_the_limits_are_taken(port: int) -> None:
    async with connected(port) as connection:
        large = GET + b"X-Long: " + b"a" * (HEAD_LIMIT_BYTES - 200) + b"\r\n\r\n"
        for chunk in (large, *chunks_of(large, 10_000), GET + b"X-Many: a\r\n" * (HEADERS_LIMIT - 2) + b"\r\n"):
            await connection.send(chunk)
            if chunk.endswith(b"\r\n\r\n"):
                assert (await connection.answer())[0] == 200
        body = BODY + b" " * 500_000
        await connection.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert (await connection.answer())[0] == 202


@pytest.mark.parametrize("part", [GET, GET[:5], POST + b"X-Slow: "])
async def test_a_head_that_does_not_come_is_waited_for_as_long_as_allowed(port: int, part: bytes) -> None:
    async with connected(port) as connection:
        began_s = time.monotonic()
        await connection.send(part)
        await refused(connection, 408, "request-timeout")
        assert time.monotonic() - began_s >= TIMEOUT_S, "no sooner either"


async def test_a_head_that_comes_byte_by_byte_has_no_more_time(port: int) -> None:
    async with connected(port) as connection:

        async def trickle() -> None:
            await connection.send(GET)
            with contextlib.suppress(ConnectionError):
                while True:
                    await connection.send(b"X")
                    await asyncio.sleep(TIMEOUT_S / 20)

        trickling = asyncio.create_task(trickle())
        await refused(connection, 408, "request-timeout")
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)


@pytest.mark.parametrize("part", [b"", BODY[:10]])
async def test_a_body_that_stops_coming_is_refused_and_nothing_is_put(port: int, redis: ArqRedis, part: bytes) -> None:
    async with connected(port) as connection:
        await connection.send(POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + part)
        await refused(connection, 408, "request-timeout")
    assert await redis.dbsize() == 0


async def test_an_upload_that_stops_coming_leaves_no_file(port: int, redis: ArqRedis, settings: Settings) -> None:
    async with connected(port) as connection:
        await connection.send(UPLOAD + b"a" * 300_000)
        await refused(connection, 408, "request-timeout")

    async def nothing_left() -> bool:
        return stored_files(settings.data_dir) == []

    await eventually(nothing_left)
    assert await redis.dbsize() == 0


async def test_a_slow_body_that_goes_on_coming_is_taken(settings: Settings, redis: ArqRedis, redis_url: str) -> None:
    """A part comes twenty times in the time that all of it does not need to take, at four times the least rate."""
    timeout_s = 1.0
    part_bytes = int(LEAST_BYTES_PER_S * 4 * timeout_s / 20)
    body = BODY + b" " * (part_bytes * 50)
    async with served(settings, redis_url, timeout_s=timeout_s) as port, connected(port) as connection:
        await connection.send(POST + b"Content-Length: %d\r\n\r\n" % len(body))
        began_s = time.monotonic()
        for part in chunks_of(body, part_bytes):
            await asyncio.sleep(timeout_s / 20)
            await connection.send(part)
        assert (await connection.answer())[0] == 202
        assert time.monotonic() - began_s > 2 * timeout_s


async def test_a_body_that_only_trickles_is_cut_off(port: int, redis: ArqRedis) -> None:
    async with connected(port) as connection:
        await connection.send(POST + b"Content-Length: 100000\r\n\r\n")

        async def trickle() -> None:
            while True:
                await connection.send(b" ")
                await asyncio.sleep(TIMEOUT_S / 5)

        trickling = asyncio.create_task(trickle())
        await refused(connection, 408, "request-timeout")
        trickling.cancel()
        await asyncio.gather(trickling, return_exceptions=True)
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        GET + b"Host: b\r\n\r\n",
        GET.replace(b"/healthz", b"http:///") + b"\r\n",
    ],
)
async def test_what_came_before_a_bad_message_has_its_answers_and_the_message_its_own(port: int, bad: bytes) -> None:
    put = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    async with connected(port) as connection:
        await connection.send(put * 3 + bad)
        assert [(await connection.answer())[0] for _ in range(3)] == [202] * 3
        await refused(connection, 400, "bad-request")


async def test_a_request_that_waits_for_its_job_is_no_slow_client(port: int) -> None:
    async with connected(port) as connection:
        await connection.send(POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        _, headers, _ = await connection.answer()
        path = f"{headers['location']}?wait={3 * TIMEOUT_S}".encode()
        await connection.send(GET.replace(b"/healthz", path) + b"\r\n")
        status, _, job = await connection.answer()
        assert (status, job["status"]) == (200, "queued")
        await connection.send(GET + b"\r\n")
        assert (await connection.answer())[0] == 200


@pytest.mark.parametrize("said", [b"", b"\r\n", GET + b"\r\n"])
async def test_a_connection_that_asks_for_nothing_is_closed_without_a_word(port: int, said: bytes) -> None:
    async with connected(port) as connection:
        await connection.send(said)
        if said.startswith(b"GET"):
            assert (await connection.answer())[0] == 200
            await connection.send(b"\r\n")
        assert await connection.is_closed()


async def test_a_refused_request_whose_body_never_ends_does_not_keep_its_connection(port: int) -> None:
    async with connected(port) as connection:
        await connection.send(b"POST /v1/nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nab")
        assert (await connection.answer())[0] == 404
        await connection.send(b"c")
        assert await connection.is_closed()


async def test_an_answer_that_is_under_way_is_not_broken_into(port: int) -> None:
    async with connected(port) as connection:
        await connection.send(POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        _, headers, _ = await connection.answer()
        # the next request starts while the answer to this one is awaited, and never ends
        path = f"{headers['location']}?wait=2".encode()
        await connection.send(GET.replace(b"/healthz", path) + b"\r\n" + GET)
        assert (await connection.answer())[0] == 200
        await refused(connection, 408, "request-timeout")


async def test_a_large_body_that_waits_to_be_asked_for_is_asked_for(port: int) -> None:
    """As curl sends what is larger than a mebibyte."""
    body = BODY + b" " * 300_000
    async with connected(port) as connection:
        await connection.send(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert (await connection._reader.readline()).startswith(b"HTTP/1.1 100")
        await connection._reader.readline()
        await connection.send(body)
        assert (await connection.answer())[0] == 202


async def test_a_request_that_was_sent_behind_another_has_nothing_of_that_ones_context(port: int) -> None:
    length = b"Content-Length: %d\r\n\r\n" % len(BODY)
    async with connected(port) as connection:
        await connection.send(POST + b"X-Request-ID: first\r\n" + length + BODY + POST + length + BODY)
        assert [(await connection.answer())[2]["request_id"] for _ in range(2)] == ["first", None]


async def test_what_was_answered_is_forgotten_without_the_garbage_collector(port: int) -> None:
    """With a body that nobody has read: the collector looks once in some hundreds of requests."""
    put = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    unread = POST.replace(b"welcome_email", b"nowhere") + b"Content-Length: 300000\r\n\r\n" + bytes(300_000)
    async with connected(port) as connection:
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                for request, status in ((put, 202), (unread, 404)):
                    await connection.send(request)
                    assert (await connection.answer())[0] == status
            kept = [one for one in gc.get_objects() if type(one) is RequestResponseCycle]
        finally:
            gc.enable()
    assert len(kept) <= 2
