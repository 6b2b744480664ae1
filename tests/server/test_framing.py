"""Where one request ends and the next begins, whatever a client says: by raw sockets, against the service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from errand.server.framing import (
    AHEAD_AT_ONCE,
    BETWEEN_LIMIT_BYTES,
    MAX_PIPELINED,
    SLICE_BYTES,
    TRAILERS_LIMIT_BYTES,
    Framing,
)
from errand.settings import ApiKey
from settings import Settings
from tests.contract.raw.attack import fault_of
from tests.contract.raw.endless import ENDLESS, asked_ms, hostile, resident_mib
from tests.contract.raw.messages import conversation
from tests.server.test_http_protocol import BODY, GET, POST, Connection, chunks_of, connected, port, refused, served
from tests.waiting import NEVER_S, eventually

__all__ = ["port"]

KEY = b"a-key-that-nobody-guesses"
MAX_RECEIVED_BYTES = 256 * 1024
"""asyncio and uvloop hand over no more at once."""
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
PAUSE = b"POST /v1/queues/default/pause HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
UPGRADES = [
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    b"Connection: Upgrade\r\nUpgrade: whatever/1\r\n",
]


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("pause_s", [0, 0.05])
@pytest.mark.parametrize("chunked", [False, True])
async def test_an_upgrade_is_ignored_and_the_body_stays_the_body(
    port: int, upgrade: bytes, pause_s: float, chunked: bool
) -> None:
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else LENGTH
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) if chunked else BODY
    async with connected(port) as connection:
        for _ in range(2):
            await connection.send(POST + upgrade + framing + b"\r\n")
            await asyncio.sleep(pause_s)
            await connection.send(body)
            status, _, job = await connection.answer()
            assert (status, job["type"]) == (202, "welcome_email")
        await connection.send(GET + b"\r\n")
        assert (await connection.answer())[0] == 200


async def test_a_body_behind_an_upgrade_is_no_request(port: int, redis: ArqRedis) -> None:
    head = b"POST /v1/jobs/welcome_email HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    async with connected(port) as connection:
        await connection.send(head + UPGRADES[0] + b"Content-Length: %d\r\n\r\n" % len(PAUSE))
        await asyncio.sleep(0.05)
        await connection.send(PAUSE + GET + b"\r\n")
        assert (await connection.answer())[0] == 422
        status, _, _ = await connection.answer()
        assert status == 200, "one answer for each request: the second is that to the GET"
    assert not await redis.keys("*paused*")


async def test_an_upgrade_without_a_body_is_a_request_like_any_other(port: int) -> None:
    async with connected(port) as connection:
        await connection.send((GET + UPGRADES[0] + b"\r\n") * 3)
        assert [(await connection.answer())[0] for _ in range(3)] == [200, 200, 200]


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (len(BODY), BODY)


async def test_a_body_that_nobody_wants_is_read_to_its_end(port: int) -> None:
    """The answer comes before the body has: a client that sends all of it first must not wait for ever."""
    path = b"/v1/jobs/welcome_email/batch?delay=10m&run_at=2030-01-01T09:00:00Z"
    head = POST.replace(b"/v1/jobs/welcome_email", path) + b"Content-Length: %d\r\n\r\n"
    body = b" " * 12 * 1024 * 1024
    async with asyncio.timeout(60), connected(port) as connection:
        for _ in range(3):
            await connection.send(head % len(body) + body)
            assert (await connection.answer())[0] == 422
        await connection.send(GET + b"\r\n")
        assert (await connection.answer())[0] == 200


async def test_a_key_in_a_trailer_does_not_authenticate(settings: Settings, redis: ArqRedis, redis_url: str) -> None:
    guarded = settings.model_copy(update={"api_keys": (ApiKey.parse(KEY.decode()),)})
    # in one piece: the trailers are there before the application looks at the headers
    with_trailer = CHUNKED + b"0\r\nAuthorization: Bearer " + KEY + b"\r\n\r\n"
    with_header = CHUNKED.replace(b"Host", b"Authorization: Bearer " + KEY + b"\r\nHost", 1) + b"0\r\n\r\n"
    async with served(guarded, redis_url) as port, connected(port) as connection:
        await connection.send(with_trailer)
        assert (await connection.answer())[0] == 401
        await connection.send(with_header)
        assert (await connection.answer())[0] == 202


async def test_a_trailer_changes_nothing_about_the_request(port: int) -> None:
    async with connected(port) as connection:
        await connection.send(CHUNKED + b"0\r\nPrefer: wait=1\r\nIdempotency-Key: key-1\r\n\r\n")
        first = await connection.answer()
        await connection.send(CHUNKED + b"0\r\nIdempotency-Key: key-1\r\n\r\n")
        second = await connection.answer()
    assert (first[0], second[0]) == (202, 202) and first[2]["id"] != second[2]["id"]
    assert "preference-applied" not in first[1] and "idempotency-replayed" not in second[1]


async def test_trailers_are_bounded(port: int) -> None:
    async with connected(port) as connection:
        await connection.send(CHUNKED + b"0\r\n" + b"X-Trailer: 1\r\n" * (TRAILERS_LIMIT_BYTES // 10))
        await refused_after_an_answer(connection)


async def refused_after_an_answer(connection: object) -> None:
    """Closed with 431, or, if the job was answered before, without another answer."""
    reader: asyncio.StreamReader = connection._reader  # type: ignore[attr-defined]
    text = await asyncio.wait_for(reader.read(), 60)
    assert text.startswith(b"HTTP/1.1 431") and text.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        (POST + b"Content-Length: " + b"0" * 5_000 + b"\r\n\r\n", 400, "bad-request"),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400, "bad-request"),
        (POST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "not-implemented"),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"),
        (POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"),
        (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 501, "not-implemented"),
        (b"GET /healthz\r\n\r\n", 505, "http-version-not-supported"),
        (b"GET /healthz HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n", 505, "http-version-not-supported"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (b"GET http:/// HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400, "bad-request"),
        (GET + b"Host: evil.example\r\n\r\n", 400, "bad-request"),
        (GET + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400, "bad-request"),
        (GET + b" folded: a\r\n\r\n", 400, "bad-request"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"a" * 100_000, 400, "bad-request"),
        (b"\r\n" * BETWEEN_LIMIT_BYTES, 400, "bad-request"),
    ],
)
async def test_what_has_no_one_meaning_is_refused(
    port: int, request_: bytes, status: int, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(port) as connection:
        await connection.send(request_)
        await refused(connection, status, kind)
    assert "Traceback" not in caplog.text


async def test_a_body_of_chunks_that_hold_next_to_nothing_is_cut_off(port: int) -> None:
    async with connected(port) as connection, asyncio.timeout(60):
        with contextlib.suppress(OSError):
            await connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(5_000):
                await connection.send(b"1;ext=abcdefghijklmn\r\n \r\n" * 100)
            raise AssertionError("eleven megabytes were taken for 500,000 blanks")


async def test_small_chunks_are_taken(port: int) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY + b" " * 30_000)
    async with connected(port) as connection:
        await connection.send(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        assert (await connection.answer())[0] == 202


async def test_an_old_client_without_a_host_is_served(port: int) -> None:
    async with connected(port) as connection:
        await connection.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await connection.answer())[0] == 200


async def test_every_pipelined_request_is_answered_in_order(port: int) -> None:
    number = MAX_PIPELINED * 10
    paths = ["/healthz" if at % 3 else "/nowhere" for at in range(number)]
    async with connected(port) as connection:
        sent = asyncio.ensure_future(
            connection.send(b"".join(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode() for path in paths))
        )
        statuses = [(await connection.answer())[0] for _ in range(number)]
        await sent
    assert statuses == [200 if path == "/healthz" else 404 for path in paths]


async def test_every_pipelined_request_with_an_upgrade_is_answered_in_order(port: int) -> None:
    number = MAX_PIPELINED * 10
    paths = ["/healthz" if at % 3 else "/nowhere" for at in range(number)]
    requests = [b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (path.encode(), UPGRADES[0]) for path in paths]
    async with connected(port) as connection, asyncio.timeout(60):
        sent = asyncio.ensure_future(connection.send(b"".join(requests)))
        statuses = [(await connection.answer())[0] for _ in range(number)]
        await sent
    assert statuses == [200 if path == "/healthz" else 404 for path in paths]


async def test_bodies_behind_pipelined_upgrades_stay_whole(port: int) -> None:
    """However the bytes are cut: each body belongs to its own request, and none is read as a request or lost."""
    number = MAX_PIPELINED * 4
    text = (POST + UPGRADES[0] + LENGTH + b"\r\n" + BODY) * number
    for piece_bytes in (1 << 20, 16_384, 1_000):
        async with connected(port) as connection, asyncio.timeout(60):
            sent = asyncio.ensure_future(_send_in_pieces(connection, text, piece_bytes))
            statuses = [(await connection.answer())[0] for _ in range(number)]
            await sent
        assert statuses == [202] * number


async def _send_in_pieces(connection: Connection, text: bytes, piece_bytes: int) -> None:
    for piece in chunks_of(text, piece_bytes):
        await connection.send(piece)
        await asyncio.sleep(0)


async def test_what_a_client_sends_ahead_is_held_within_a_bound(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests without end whose answers nobody reads: neither requests nor bytes pile up."""
    waiting: list[int] = []
    unparsed: list[int] = []
    complete_head, receive = Framing.on_headers_complete, Framing.data_received

    def on_headers_complete(self: Framing) -> None:
        waiting.append(len(self.pipeline))
        complete_head(self)

    def data_received(self: Framing, data: bytes) -> None:
        receive(self, data)
        unparsed.append(len(self._unparsed))

    monkeypatch.setattr(Framing, "on_headers_complete", on_headers_complete)
    monkeypatch.setattr(Framing, "data_received", data_received)
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    async def send_for_ever() -> None:
        while True:
            await connection.send(request * 2_000)

    async def many_served() -> bool:
        """They are, as long as their answers can be sent."""
        return len(waiting) > 200

    async with connected(port) as connection:
        sending = asyncio.create_task(send_for_ever())
        await eventually(many_served)
        await asyncio.wait({sending}, timeout=1)  # what it sends from now on is mostly left unread
        sending.cancel()
        connection._writer.transport.abort()
    assert max(waiting) <= MAX_PIPELINED + SLICE_BYTES // len(request) + 1
    assert max(unparsed) <= 2 * MAX_RECEIVED_BYTES


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process as Linux shows it")
@pytest.mark.parametrize("kind", ENDLESS)
async def test_five_endless_clients_cost_little_memory_and_hold_up_nobody(port: int, kind: str) -> None:
    """`make fuzz` measures how long the others wait."""
    before_mib = peak_mib = resident_mib(os.getpid())
    async with hostile(kind, port=port):
        for _ in range(20):
            await asked_ms(port)
            peak_mib = max(peak_mib, resident_mib(os.getpid()))
            await asyncio.sleep(0.02)
    assert peak_mib - before_mib < 50


PIECES = [
    POST,
    GET,
    LENGTH,
    BODY,
    PAUSE,
    *UPGRADES,
    CHUNKED,
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 3\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"0\r\n\r\n",
    b"0\r\nX-Trailer: 1\r\n\r\n",
    b"5\r\nabcde\r\n",
    b"\r\n",
    b"\n",
    b"\x00",
    b"\r",
    b"HEAD / HTTP/1.0\r\n\r\n",
]


@pytest.mark.parametrize("seed", range(60))
async def test_no_mixture_of_messages_breaks_the_service(
    port: int, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Random orders and cuts: each connection ends or is answered, no fault is logged, others are served."""
    chance = random.Random(seed)
    text = b"".join(chance.choices(PIECES, k=chance.randrange(1, 12)))
    cuts = sorted(chance.randrange(len(text)) for _ in range(chance.randrange(4)))
    async with connected(port) as connection, asyncio.timeout(60):
        answers = b""
        with contextlib.suppress(OSError):  # the service has closed by then
            for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
                await connection.send(text[start:end])
                await asyncio.sleep(0)
            connection._writer.write_eof()
            answers = await connection._reader.read()
    assert b"HTTP/1.1 500" not in answers
    assert "Traceback" not in caplog.text and "Exception" not in caplog.text
    async with connected(port) as connection:
        await connection.send(GET + b"\r\n")
        assert (await connection.answer())[0] == 200


@pytest.mark.parametrize("seed", range(0, 200, 20))
async def test_no_conversation_is_answered_otherwise_than_it_must_be(
    port: int, redis: ArqRedis, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """`make fuzz` does the same for longer: odd requests get their answers in order, and no body is a request."""
    faults = {}
    for one in range(seed, seed + 20):
        sent = conversation(random.Random(one))
        if fault := await fault_of(port, sent):
            faults[one] = (fault, sent.pieces)
    assert faults == {}
    assert not await redis.keys("*paused*")
    assert "Traceback" not in caplog.text and "Exception" not in caplog.text


async def test_who_goes_on_sending_ahead_is_served_with_pauses(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that others are served meanwhile; who waits for answers is served at once again."""
    monkeypatch.setattr("errand.server.share.AT_ONCE_S", NEVER_S)  # a rest would count as sending ahead
    paused: list[int] = []
    start = Framing._start_if_open

    def counted(self: Framing, *args: Any) -> None:
        paused.append(1)
        start(self, *args)

    monkeypatch.setattr(Framing, "_start_if_open", counted)
    request = GET + b"\r\n"
    async with connected(port) as connection:
        for number, expected in ((AHEAD_AT_ONCE // 2, 0), (AHEAD_AT_ONCE // 2, 0), (AHEAD_AT_ONCE + 20, 10), (1, 0)):
            paused.clear()
            await connection.send(request * number)
            assert [(await connection.answer())[0] for _ in range(number)] == [200] * number
            assert expected <= len(paused) <= 2 * expected
