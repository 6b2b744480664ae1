"""Posts a body to a URL: on a kept connection if there is one, else on a new one."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from errand.resources.guard import AddressGuard, outgoing_context
from errand.version import VERSION
from errand.webhooks.header_name import HEADER_NAME
from errand.webhooks.post.answer import HttpAnswer
from errand.webhooks.post.connection import DeadConnection, PostConnection
from errand.webhooks.post.dial import Dialer, Origin
from errand.webhooks.post.kept import KeptConnections
from errand.webhooks.post.proxy import EgressProxy
from errand.webhooks.post_fault import PostFault

VISIBLE = re.compile(r"[\x21-\x7e]+")
FIELDS = re.compile(rf"(?:{HEADER_NAME.pattern}: [\x20-\x7e\t]*\r\n)*")


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """A URL, taken apart."""

    tls: bool
    host: str
    port: int
    head: str
    """The request line and `Host`."""


class Poster:
    """An HTTP/1.1 client for POSTs to untrusted URLs. It follows no redirect, has no cookies and no netrc, and uses no
    proxy but the one that it is given."""

    def __init__(
        self, guard: AddressGuard, *, trust: ssl.SSLContext | None = None, proxy: EgressProxy | None = None
    ) -> None:
        """`trust`: which certificates are trusted; those of the system without it."""
        self._dialer = Dialer(guard, proxy)
        self._kept = KeptConnections()
        self._trust = trust or trusted()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, guard: AddressGuard, *, trust: ssl.SSLContext | None = None, proxy: EgressProxy | None = None
    ) -> AsyncIterator[Poster]:
        """For as long as the block lasts; then its connections are closed."""
        poster = cls(guard, trust=trust, proxy=proxy)
        try:
            yield poster
        finally:
            poster._kept.close()

    async def post(
        self,
        url: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        deadline_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> HttpAnswer:
        """Posts `body` and returns the answer; its status line must come within `deadline_s` seconds of the call.

        `tls`: the trust and the certificate for this URL, in place of the usual. Raises PostFault; NotTried if there
        was no room to look up its name; ValueError for a header that is none.
        """
        target = parsed_url(url)
        origin = Origin(target.host, target.port, (tls or self._trust) if target.tls else None)
        request = _request(target, headers, body)
        until_s = asyncio.get_running_loop().time() + deadline_s
        try:
            if (kept := self._kept.take(origin)) is not None:
                try:
                    return await self._exchange(origin, kept, request, until_s)
                except DeadConnection:
                    pass  # closed by the peer while nobody used it, as it may be at any time
            return await self._on_a_new_connection(origin, request, until_s)
        except PostFault as fault:
            if fault.kind == "timeout":
                raise PostFault("timeout", f"{fault} ({deadline_s:g} s)") from None
            raise

    async def _on_a_new_connection(self, origin: Origin, request: bytes, until_s: float) -> HttpAnswer:
        timings_ms: dict[str, float] = {}
        try:
            async with asyncio.timeout_at(until_s):
                connection = await self._dialer.dial(origin, timings_ms)
        except TimeoutError:
            step = "no connection" if "dns" in timings_ms else "no answer from the name servers"
            raise PostFault("timeout", f"{step} in time") from None
        answer = await self._exchange(origin, connection, request, until_s)
        answer.timings_ms = {**timings_ms, **answer.timings_ms}
        return answer

    async def _exchange(self, origin: Origin, connection: PostConnection, request: bytes, until_s: float) -> HttpAnswer:
        try:
            answer = await connection.exchange(request, until_s=until_s)
        except BaseException:
            connection.close()
            raise
        self._kept.put(origin, connection)
        return answer


def trusted() -> ssl.SSLContext:
    """The system's certificates; HTTP/1.1 alone is offered."""
    context = outgoing_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


@lru_cache(maxsize=4096)
def parsed_url(url: str) -> ParsedUrl:
    """Raises PostFault if it is no http or https URL of visible ASCII characters, or holds credentials."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        parts, port, host = urlsplit(""), None, ""
    if parts.scheme not in ("http", "https") or not host or not VISIBLE.fullmatch(url) or "@" in parts.netloc:
        raise PostFault("blocked", f"not a URL to post to: {url[:200]!r}")
    tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return ParsedUrl(tls, host, port or (443 if tls else 80), f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n")


def _request(target: ParsedUrl, headers: Mapping[str, str], body: bytes) -> bytes:
    head = (
        f"{target.head}User-Agent: Errand/{VERSION}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
        f"Content-Length: {len(body)}\r\n{_fields(headers)}\r\n"
    )
    return head.encode("ascii") + body


def _fields(headers: Mapping[str, str]) -> str:
    """Raises ValueError for one that is no header."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    # all at once; a value with a line break in it makes one line more
    if fields.count("\r\n") != len(headers) or not FIELDS.fullmatch(fields):
        odd = next(name for name, value in headers.items() if not _is_field(f"{name}: {value}\r\n"))
        raise ValueError(f"not a header: {odd!r}")
    return fields


def _is_field(line: str) -> bool:
    return line.count("\r\n") == 1 and FIELDS.fullmatch(line) is not None
