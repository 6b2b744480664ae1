"""Through an egress proxy: what it is asked, what it refuses, and what goes past it."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
import trustme

from errand.resources.guard import AddressGuard
from errand.webhooks.post import EgressProxy, Poster, PostFault
from tests.ports import free_port
from tests.webhooks.post.hostile import LENGTH_5, receiving, serving
from tests.webhooks.post.test_poster import LOOPBACK, fault_of, post, server_context

NAME = "receiver.invalid"
"""No name server knows it: only the proxy does."""


@dataclass
class Proxy:
    """Connects to 127.0.0.1, whatever the name; answers `answer` instead if there is one."""

    answer: bytes = b""
    asked: list[str] = field(default_factory=list)
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        if self.answer:
            writer.write(self.answer)
            await writer.drain()
            return
        port = int(head.split()[1].rpartition(":")[2])
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.transport.abort()
            with suppress(ConnectionError):
                await back.wait_closed()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(answer: bytes = b"") -> AsyncIterator[Proxy]:
    proxy = Proxy(answer)
    async with serving(proxy.handle) as url:
        proxy.port = int(url.split(":")[2].partition("/")[0])
        yield proxy


def egress(proxy: Proxy, credentials: str = "") -> EgressProxy:
    return EgressProxy.at(f"http://{credentials}127.0.0.1:{proxy.port}")


def named(url: str) -> str:
    return url.replace("127.0.0.1", NAME)


async def test_the_proxy_is_asked_for_the_receiver_by_its_name_once_for_a_kept_connection() -> None:
    async with proxying() as proxy, receiving(LENGTH_5 + b"hello") as receiver:
        async with Poster.open(AddressGuard(), proxy=egress(proxy, "ada:p%40ss@")) as poster:
            answers = [await post(poster, named(receiver.url)) for _ in range(2)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, b"hello")] * 2
    (asked,) = proxy.asked
    port = receiver.url.split(":")[2].partition("/")[0]
    assert asked.startswith(f"CONNECT {NAME}:{port} HTTP/1.1\r\nHost: {NAME}:{port}\r\n")
    assert "Proxy-Authorization: Basic YWRhOnBAc3M=\r\n" in asked
    assert "ada" not in repr(egress(proxy, "ada:p%40ss@"))


async def test_tls_goes_through_it_to_the_receiver() -> None:
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trust)
    async with proxying() as proxy, receiving(LENGTH_5 + b"hello", ssl=server_context(authority, NAME)) as receiver:
        async with Poster.open(AddressGuard(), trust=trust, proxy=egress(proxy)) as poster:
            assert (await post(poster, named(receiver.url))).status == 200
            assert await fault_of(poster, receiver.url.replace("127.0.0.1", "other.invalid")) == "tls"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"HTTP/1.1 407 Request rejected by proxy\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 502 Bad Gateway\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=lambda answer: answer[:20].decode(),
)
async def test_what_the_proxy_refuses_or_answers_wrongly_is_a_fault_of_the_proxy(answer: bytes) -> None:
    async with proxying(answer) as proxy, Poster.open(AddressGuard(), proxy=egress(proxy)) as poster:
        assert await fault_of(poster, f"http://{NAME}:8000/") == "proxy"


async def test_a_proxy_that_is_not_there_or_hangs_is_a_fault_with_a_name() -> None:
    gone = EgressProxy.at(f"http://127.0.0.1:{free_port()}")
    async with Poster.open(AddressGuard(), proxy=gone) as poster:
        with pytest.raises(PostFault) as fault:
            await poster.post(f"http://{NAME}:8000/", body=b"", headers={}, deadline_s=10)
        said = "the egress proxy cannot be reached: Connection refused"
        assert (fault.value.kind, str(fault.value)) == ("proxy", said), "and not where it is: tenants read it"

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with serving(hang) as url:
        async with Poster.open(AddressGuard(), proxy=EgressProxy.at(url)) as poster:
            assert await fault_of(poster, f"http://{NAME}:8000/", deadline_s=0.2) == "timeout"


async def test_addresses_and_ports_in_a_url_are_judged_here_too_and_the_sink_is_reached_without_it() -> None:
    async with proxying() as proxy, receiving(LENGTH_5 + b"hello") as receiver:
        async with Poster.open(AddressGuard(), proxy=egress(proxy)) as poster:
            for url in (receiver.url, "http://[::1]:8000/", f"http://{NAME}:22/", "https://.example.com/"):
                assert await fault_of(poster, url) == "blocked"
        port = int(receiver.url.split(":")[2].partition("/")[0])
        past = EgressProxy.at(f"http://127.0.0.1:{proxy.port}", direct=[("127.0.0.1", port)])
        async with Poster.open(AddressGuard([ipaddress.ip_network(LOOPBACK)]), proxy=past) as poster:
            assert (await post(poster, receiver.url)).status == 200
    assert proxy.asked == []
