"""Posting to real receivers: what decides, what is kept, what is refused, and in what time."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import trustme

from errand.resources.guard import AddressGuard
from errand.webhooks.post import HttpAnswer, NotTried, Poster, PostFault
from errand.webhooks.post.answer import BODY_LIMIT_BYTES, MAX_CHUNKS, MAX_FIELDS
from tests.ports import free_port
from tests.webhooks.post.hostile import DECIDED, LENGTH_5, UNDECIDED, Receiver, receiving, serving

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
DEADLINE_S = 0.3


@pytest.fixture
async def poster(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Poster]:
    """May reach 127.0.0.0/8 beside the Internet; waits only a moment for the rest of an answer."""
    monkeypatch.setattr("errand.webhooks.post.connection.REST_S", 0.1)
    async with Poster.open(AddressGuard([LOOPBACK])) as opened:
        yield opened


async def post(poster: Poster, url: str, *, deadline_s: float = 10, **options: Any) -> HttpAnswer:
    return await poster.post(url, body=b"{}", headers={"X-Test": "yes"}, deadline_s=deadline_s, **options)


async def fault_of(poster: Poster, url: str, **options: Any) -> str:
    with pytest.raises(PostFault) as raised:
        await post(poster, url, **options)
    return raised.value.kind


# --- hostile answers


@pytest.mark.parametrize("name", DECIDED)
async def test_the_status_line_decides_whatever_follows(poster: Poster, name: str) -> None:
    status, steps = DECIDED[name]
    async with receiving(*steps) as receiver:
        answer = await post(poster, receiver.url)
        assert (answer.status, receiver.requests) == (status, 1)
        assert len(answer.body) <= BODY_LIMIT_BYTES and len(answer.headers) <= MAX_FIELDS
        # and what followed is never taken for the answer to another request
        assert (await post(poster, receiver.url)).status == status


@pytest.mark.parametrize("name", UNDECIDED)
async def test_without_a_status_line_there_is_a_fault_with_a_name(poster: Poster, name: str) -> None:
    kind, steps = UNDECIDED[name]
    async with receiving(*steps) as receiver:
        # longer, if the machine was too busy for the request to get there
        for deadline_s in (DEADLINE_S, 10) if kind == "timeout" else (10,):
            assert await fault_of(poster, receiver.url, deadline_s=deadline_s) == kind
            if receiver.requests:
                break
        assert receiver.requests == 1


def test_there_are_enough_hostile_answers() -> None:
    assert len(DECIDED) + len(UNDECIDED) >= 60


async def test_an_answer_in_many_small_parts_is_not_read_to_its_end(poster: Poster) -> None:
    """Each part takes a while; the other deliveries of the process wait meanwhile."""
    async with receiving(*DECIDED["chunks of one byte"][1]) as receiver:
        assert len((await post(poster, receiver.url)).body) == MAX_CHUNKS


async def test_memory_stays_flat_whatever_comes(poster: Poster) -> None:
    floods = [steps for _, steps in (*DECIDED.values(), *UNDECIDED.values()) if "endless" in steps]
    assert len(floods) >= 8
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(5):
        for steps in floods:
            async with receiving(*steps) as receiver:
                await asyncio.gather(*(post(poster, receiver.url) for _ in range(4)), return_exceptions=True)
                await asyncio.wait_for(receiver.hung_up_on.wait(), 60)
                assert receiver.sent_bytes < 64 * 1024 * 1024
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024


# --- connections


async def test_a_sound_answer_keeps_its_connection_and_phases_are_timed(poster: Poster) -> None:
    async with receiving(LENGTH_5 + b"hello") as receiver:
        first, second = [await post(poster, receiver.url) for _ in range(2)]
    assert first.remote == second.remote == receiver.url.split("/")[2]
    assert first.timings_ms.keys() == {"dns", "connect", "wait", "read"}
    assert second.timings_ms.keys() == {"wait", "read"}, "it had a connection already"
    assert first.complete and first.body == b"hello" and first.header("content-length") == "5"


async def test_a_kept_connection_that_died_is_replaced_at_once(poster: Poster) -> None:
    """The peer closes a kept connection in the moment in which the next request is on its way."""
    accepted = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(LENGTH_5 + b"hello")
        if accepted == 1:
            await reader.readuntil(b"\r\n\r\n{}")  # the second request: not a byte of an answer
        else:
            await reader.read()

    async with serving(answer) as url:
        assert (await post(poster, url)).status == 200
        assert (await post(poster, url)).status == 200
    assert accepted == 2


async def test_a_receiver_that_answers_before_it_has_read_all_gets_the_next_request_on_another_connection(
    poster: Poster,
) -> None:
    """It never reads the rest, behind which the next request would wait."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is one that reads
        writer.write(LENGTH_5 + b"hello")
        await asyncio.Event().wait()

    async with serving(answer, limit=1024) as url:
        big = await poster.post(url, body=bytes(50_000_000), headers={}, deadline_s=10)
        assert big.status == 200 and big.complete
        assert (await post(poster, url)).status == 200


async def test_what_comes_unasked_is_not_the_answer_to_the_next_request(poster: Poster) -> None:
    asked: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(LENGTH_5 + b"hello")
        await asked.put(writer)
        await reader.read()

    async with serving(answer) as url:
        await post(poster, url)
        first = await asked.get()
        first.write(b"HTTP/1.1 418 Unasked\r\nContent-Length: 0\r\n\r\n")
        await first.drain()
        assert (await post(poster, url)).status == 200


async def test_neither_a_proxy_nor_a_redirect_is_followed(poster: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with receiving(b"HTTP/1.1 307 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n") as receiver:
        assert (await post(poster, receiver.url)).status == 307
        assert receiver.requests == 1


# --- names and addresses


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://127.0.0.1:{port}/", "refused"),
        ("http://nowhere.invalid/", "dns"),
        (f"http://{'a' * 64}.example/", "blocked"),
        ("http://a..b/", "blocked"),
        ("ftp://127.0.0.1/", "blocked"),
        ("http:///", "blocked"),
        ("http://ada:pw@127.0.0.1/", "blocked"),
        ("http://127.0.0.1:99999/", "blocked"),
        ("http://127.0.0.1/a b", "blocked"),
        ("http://127.0.0.1/a\r\nX: y", "blocked"),
        ("http://[::1]/", "blocked"),
        ("http://10.0.0.1/", "blocked"),
        ("http://169.254.169.254/", "blocked"),
    ],
)
async def test_what_cannot_be_reached_or_must_not_be(poster: Poster, url: str, kind: str) -> None:
    assert await fault_of(poster, url.format(port=free_port())) == kind


async def test_a_name_that_resolves_to_another_address_each_time_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter(["93.184.215.14", "127.0.0.1", "127.0.0.1"])

    def rebinding(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr("errand.resources.lookups.KEEP_S", 0.0)
    async with receiving(LENGTH_5 + b"hello") as receiver, Poster.open(AddressGuard()) as guarded:
        url = receiver.url.replace("127.0.0.1", "rebinding.example")
        await fault_of(guarded, url, deadline_s=0.1)  # the public address, which does not answer here
        assert await fault_of(guarded, url) == "blocked"
        assert receiver.requests == 0


def hanging_names(poster: Poster, *names: str) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(fault_of(poster, f"http://{name}.hangs", deadline_s=20)) for name in names]


async def test_names_that_hang_hold_up_no_other(poster: Poster, names_answer: threading.Event) -> None:
    async with receiving(LENGTH_5 + b"hello") as receiver:
        hung = hanging_names(poster, *(str(number) for number in range(50)))
        await asyncio.sleep(0)
        assert (await post(poster, receiver.url.replace("127.0.0.1", "a.fine"), deadline_s=10)).status == 200
        assert not any(task.done() for task in hung)
        names_answer.set()
        assert set(await asyncio.gather(*hung)) == {"dns"}


async def test_without_room_for_a_lookup_nothing_is_tried_and_an_old_answer_will_do(
    poster: Poster, names_answer: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No receiver is at fault for the name servers of others."""
    monkeypatch.setattr("errand.resources.lookups.MAX_LOOKUPS", 3)
    monkeypatch.setattr("errand.resources.lookups.KEEP_S", 0.0)
    async with receiving(LENGTH_5 + b"hello") as receiver:
        known, new = (receiver.url.replace("127.0.0.1", name) for name in ("known.fine", "new.fine"))
        assert (await post(poster, known)).status == 200
        hung = hanging_names(poster, "a", "b", "c")
        await asyncio.sleep(0)
        with pytest.raises(NotTried, match="3 other host names"):
            await post(poster, new)
        poster._kept.close()
        assert (await post(poster, known)).status == 200
        names_answer.set()
        await asyncio.gather(*hung)
        assert (await post(poster, new)).status == 200


async def test_without_a_thread_nothing_is_tried_and_the_next_time_is_as_the_first(
    poster: Poster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with receiving(LENGTH_5 + b"hello") as receiver:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(NotTried, match="can't start"):
            await post(poster, receiver.url)
        monkeypatch.undo()
        assert (await post(poster, receiver.url)).status == 200


async def test_names_that_were_slow_leave_room_for_others(
    poster: Poster, names_answer: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("errand.resources.lookups.MAX_LOOKUPS", 4)
    monkeypatch.setattr("errand.resources.lookups.MAX_SLOW", 2)
    monkeypatch.setattr("errand.resources.lookups.SLOW_S", 0.0)
    names_answer.set()
    await asyncio.gather(*hanging_names(poster, "a", "b", "c"))
    names_answer.clear()
    async with receiving(LENGTH_5 + b"hello") as receiver:
        hung = hanging_names(poster, "a", "b")
        await asyncio.sleep(0)
        with pytest.raises(NotTried):
            await post(poster, "http://c.hangs")
        assert (await post(poster, receiver.url.replace("127.0.0.1", "a.fine"))).status == 200
        names_answer.set()
        await asyncio.gather(*hung)


@pytest.mark.parametrize(("name", "value"), [("X\r\nY", "z"), ("X", "a\r\nY: z"), ("X Y", "z"), ("X", "ž"), ("", "x")])
async def test_what_is_no_header_is_not_sent(poster: Poster, name: str, value: str) -> None:
    async with receiving(LENGTH_5 + b"hello") as receiver:
        with pytest.raises(ValueError, match="not a header"):
            await poster.post(receiver.url, body=b"", headers={name: value}, deadline_s=5)
        assert receiver.requests == 0


# --- TLS


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_certificates_are_checked(authority: trustme.CA) -> None:
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with Poster.open(AddressGuard([LOOPBACK]), trust=trust) as trusting, receiver_with(authority) as receiver:
        assert (await post(trusting, receiver.url)).status == 200
    for strange in (server_context(trustme.CA(), "127.0.0.1"), server_context(authority, "another.example")):
        async with Poster.open(AddressGuard([LOOPBACK]), trust=trust) as trusting:
            async with receiving(LENGTH_5 + b"hello", ssl=strange) as receiver:
                assert await fault_of(trusting, receiver.url) == "tls"
                assert receiver.requests == 0


def receiver_with(authority: trustme.CA) -> Any:
    return receiving(LENGTH_5 + b"hello", ssl=server_context(authority, "127.0.0.1"))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_receiver_that_refuses_our_certificate_is_a_fault_of_tls(authority: trustme.CA) -> None:
    """With TLS 1.3 it says so after the handshake, in which we take part without one."""
    trust, asking = ssl.create_default_context(), server_context(authority, "127.0.0.1")
    authority.configure_trust(trust)
    asking.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            taken, _ = server.accept()
            with asking.wrap_socket(taken, server_side=True, do_handshake_on_connect=False) as talk:
                with suppress(ssl.SSLError):
                    talk.do_handshake()
                over.wait(30)  # a connection that is closed at once may take its last words with it

        over = threading.Event()
        thread = threading.Thread(target=refuse)
        thread.start()
        async with Poster.open(AddressGuard([LOOPBACK]), trust=trust) as trusting:
            assert await fault_of(trusting, f"https://127.0.0.1:{server.getsockname()[1]}/") == "tls"
        over.set()
        thread.join()


@pytest.mark.parametrize("steps", [[b"HTTP/1.1 200 OK\r\n\r\n", "hang"], ["close"], ["reset"]])
async def test_a_peer_that_speaks_no_tls_is_a_fault_of_tls(poster: Poster, steps: list[Any]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await Receiver(steps)._play(reader, writer)

    async with serving(answer) as url:
        assert await fault_of(poster, url.replace("http:", "https:")) == "tls"


async def test_a_handshake_that_hangs_ends_at_the_deadline(poster: Poster) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as url:
        started_s = time.monotonic()
        assert await fault_of(poster, url.replace("http:", "https:"), deadline_s=DEADLINE_S) == "timeout"
        assert time.monotonic() - started_s >= DEADLINE_S
