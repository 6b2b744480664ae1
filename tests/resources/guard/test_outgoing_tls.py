"""What a server can make a handshake with it cost: nothing that others would feel."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import ssl
from base64 import encodebytes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
import uvloop

from errand.resources.guard import AddressGuard, outgoing_context
from errand.webhooks.post import Poster, PostFault

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class TlsServer:
    """Answers each request that comes through a handshake."""

    def __init__(self) -> None:
        self.url = ""
        self.requests = 0

    @classmethod
    @asynccontextmanager
    async def serving(cls, context: ssl.SSLContext) -> AsyncIterator[TlsServer]:
        self = cls()
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=context) as server:
            self.url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
            yield self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        writer.write(ANSWER)
        await writer.drain()
        writer.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # of RSA: there is no finite-field exchange with another
    authority.issue_cert("localhost", key_type=trustme.KeyType.RSA).configure_cert(context)
    return context


async def post(url: str, context: ssl.SSLContext) -> int:
    async with Poster.open(AddressGuard([ipaddress.ip_network("127.0.0.0/8")]), trust=context) as poster:
        return (await poster.post(url, body=b"{}", headers={}, deadline_s=20)).status


def contexts(authority: trustme.CA) -> list[ssl.SSLContext]:
    """One that every worker has, and one of an endpoint's own certificates."""
    from errand.webhooks.endpoints.tls import context_of
    from errand.webhooks.post.poster import trusted

    usual, own = trusted(), context_of(authority.cert_pem.bytes().decode(), None)
    authority.configure_trust(usual)
    assert own is not None
    return [usual, own]


async def test_no_server_has_the_event_loop_compute_with_a_prime_that_it_has_made_up(
    authority: trustme.CA, tmp_path: Path
) -> None:
    """One of 10,000 bits took a second of the loop's time; these are no primes, which no client looks at."""
    prime, generator = b"\x02\x82\x01\x01" + (2**2047 + 1).to_bytes(257, "big"), b"\x02\x01\x02"  # ASN.1 of PKCS #3
    der = b"\x30\x82" + len(prime + generator).to_bytes(2, "big") + prime + generator
    pem = f"-----BEGIN DH PARAMETERS-----\n{encodebytes(der).decode()}-----END DH PARAMETERS-----\n"
    (tmp_path / "dh.pem").write_text(pem)
    costly = server_context(authority)
    costly.maximum_version = ssl.TLSVersion.TLSv1_2
    costly.set_ciphers("DHE-RSA-AES128-GCM-SHA256")
    costly.load_dh_params(str(tmp_path / "dh.pem"))
    async with TlsServer.serving(costly) as server:
        for context in contexts(authority):
            with pytest.raises(PostFault) as raised:
                await post(server.url, context)
            assert raised.value.kind == "tls"
        assert server.requests == 0


async def test_a_handshake_that_costs_too_much_is_ended_and_not_begun_again_with_that_host(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In TLS 1.3 a server may still choose a known group of 8,192 bits, which takes 0.12 s."""
    context, of_others = contexts(authority)
    async with TlsServer.serving(server_context(authority)) as server:
        monkeypatch.setattr("errand.resources.guard.outgoing_tls.MAX_CPU_S", 0.0)
        for _ in range(3):
            with pytest.raises(PostFault, match="the handshake costs too much"):
                await post(server.url, context)
        monkeypatch.undo()
        with pytest.raises(PostFault, match="the handshake costs too much"):
            await post(server.url, context)
        assert await post(server.url, of_others) == 200, "an endpoint's own certificates had a host refused to others"
        assert server.requests == 1


def test_a_refused_handshake_closes_no_file_of_others(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers run uvloop. It closed the number of the socket once more, which was another connection's by then."""
    monkeypatch.setattr("errand.resources.guard.outgoing_tls.MAX_CPU_S", 0.0)

    async def refused(times: int) -> None:
        context = contexts(authority)[0]
        async with TlsServer.serving(server_context(authority)) as server:
            for _ in range(times):
                with pytest.raises(PostFault, match="the handshake costs too much"):
                    await post(server.url, context)
                with open(os.devnull) as file:  # noqa: ASYNC230  # takes the number that is free
                    for _ in range(5):
                        await asyncio.sleep(0)
                    os.fstat(file.fileno())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(refused(10))


def test_no_server_has_a_handshake_repeated() -> None:
    assert outgoing_context().options & ssl.OP_NO_RENEGOTIATION
