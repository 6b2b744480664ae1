"""HTTP requests to addresses that callers name: guarded, bounded in time and size."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from errand.resources.guard import AddressGuard, AddressRefused, outgoing_context
from errand.resources.lookups import Lookups, LookupsBusy

USER_AGENT = "Errand/0.1"


REPLY_LIMIT_BYTES = 16 * 1024
"""How much of an answer is read: enough to see what the peer complains about."""


TRY_AGAIN = frozenset({408, 425, 429, *range(500, 600)})
"""The request took too long, came too early, or one of too many, or the server has a fault (RFC 9110, 6585, 8470)."""


CHUNK_BYTES = 256 * 1024


PART_BYTES, MAX_ANSWERS = 16 * 1024, 20
"""So much is taken apart at a time, and so many answers may have come that nobody has looked at yet."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a peer answered; `body` is cut to a bounded size."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class OutboundFault(Exception):
    """There was no answer: the connection failed, broke, or took too long. It may work later."""


class OutboundRefused(Exception):
    """The request must not be made, or can never succeed: it will not work later either."""


class OwnLookups(AbstractResolver):
    """Looks names up in threads of their own: those of the event loop, which mail and Redis need, are few, and callers
    may name hosts whose name servers hang."""

    def __init__(self) -> None:
        self._lookups = Lookups()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As aiohttp asks for them. Raises OSError; UnicodeError for what cannot be the name of a host."""
        try:
            found = await self._lookups.addresses(host, port)
        except LookupsBusy as reason:
            raise OSError(str(reason)) from None
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=socket.IPPROTO_TCP, flags=numeric
            )
            for kind, _, _, _, address in found
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        """Nothing: a thread ends when its name server has answered, or does so no more."""


class BoundedAnswers(ResponseHandler):
    """Gives up a server that floods with answers, such as 1xx: aiohttp takes each of them apart before it looks at one.

    Five such servers held up the event loop for seconds, past every deadline.
    """

    def data_received(self, data: bytes) -> None:
        """Takes what came, a part at a time."""
        for start in range(0, max(len(data), 1), PART_BYTES):
            super().data_received(data[start : start + PART_BYTES])
            if len(self._buffer) > MAX_ANSWERS:
                self.abort()
                self.set_exception(aiohttp.ClientConnectionError("many answers came to one request"))
                return


class BoundedConnector(aiohttp.TCPConnector):
    """Its connections are bounded in what they take apart."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(BoundedAnswers, loop=self._loop)  # type: ignore[assignment]  # makes a kind of its own


class Outbound:
    """An HTTP client for untrusted URLs."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, guard: AddressGuard, *, connections: int) -> AsyncIterator[Outbound]:
        """A client with at most that many connections at once. No proxy, cookie or netrc of the host is used."""

        async def guarded(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            """Also around each redirect."""
            _check(guard, request)
            return await handler(request)

        connector = BoundedConnector(
            socket_factory=guard.open_socket,
            limit=connections,
            resolver=OwnLookups(),
            ttl_dns_cache=10,
            ssl=outgoing_context(),
        )
        async with aiohttp.ClientSession(
            connector=connector,
            middlewares=(guarded,),
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            # nothing here decompresses: the limit counts the bytes that were sent
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, connect=None),
        ) as session:
            yield cls(session)

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str], deadline_s: float) -> Reply:
        """Posts `body`; never follows a redirect. `deadline_s` bounds the whole exchange, in seconds.

        Raises OutboundFault; OutboundRefused if the guard refuses the address or the URL is not valid.
        """
        async with self._exchange(deadline_s, url):
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                start = await _read_start(response)
                return Reply(response.status, dict(response.headers), start)

    async def download(self, url: str, target: Path, *, limit_bytes: int, deadline_s: float) -> int:
        """Writes the body at `url` to `target` and returns its size in bytes. The guard checks redirects too.

        Raises OutboundFault, also for an answer of `TRY_AGAIN`; OutboundRefused for any other but 200, for a body over
        `limit_bytes`, and if the guard refuses the address.
        """
        async with self._exchange(deadline_s, url):
            async with self._session.get(url, max_redirects=5) as response:
                _check_found(response)
                return await _write_body(response, target, limit_bytes)

    @asynccontextmanager
    async def _exchange(self, deadline_s: float, url: str) -> AsyncIterator[None]:
        """Turns every error of a connection into one of the two that callers act on."""
        try:
            async with asyncio.timeout(deadline_s):
                yield
        except TimeoutError:
            raise OutboundFault(f"no complete answer within {deadline_s:g} s") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, AddressRefused):
                raise OutboundRefused(f"{error.host}: {error.os_error}") from None
            raise OutboundFault(f"{error.host}: {error.os_error}") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.TooManyRedirects) as error:
            raise OutboundRefused(f"{type(error).__name__}: {url}") from None
        except UnicodeError:  # from getaddrinfo: the host has an empty label, or one of over 63 characters
            raise OutboundRefused(f"not the name of a host: {url}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise OutboundFault(f"{type(error).__name__}: {error}") from None


def _check(guard: AddressGuard, request: aiohttp.ClientRequest) -> None:
    """Raises OutboundRefused."""
    url = request.url
    # aiohttp has made a header of the credentials in a URL
    if "Authorization" in request.headers:
        raise OutboundRefused(f"{url.host}: the URL has credentials in it")
    try:
        guard.check_origin(url.host or "", url.port or 0, tls=url.scheme == "https")
    except AddressRefused as error:
        raise OutboundRefused(f"{url.host}: {error}") from None


def _check_found(response: aiohttp.ClientResponse) -> None:
    if response.status in TRY_AGAIN:
        raise OutboundFault(f"answered {response.status}")
    if response.status != 200:
        raise OutboundRefused(f"answered {response.status}")


async def _read_start(response: aiohttp.ClientResponse) -> bytes:
    start = b""
    while len(start) < REPLY_LIMIT_BYTES and (chunk := await response.content.read(REPLY_LIMIT_BYTES - len(start))):
        start += chunk
    if not response.content.at_eof():
        response.close()  # the rest is not needed: the connection cannot be used again
    return start


async def _write_body(response: aiohttp.ClientResponse, target: Path, limit_bytes: int) -> int:
    size = 0
    with target.open("wb") as file:  # page-cache writes of a chunk, far shorter than a thread's start
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            size += len(chunk)
            if size > limit_bytes:
                raise OutboundRefused(f"larger than {limit_bytes} bytes")
            file.write(chunk)
    return size
