"""Opens connections: looks up the name, lets the guard look at each address, connects, shakes hands."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from typing import NamedTuple

import aiohappyeyeballs

from errand.resources.guard import AddressGuard, AddressInfo, AddressRefused
from errand.webhooks.post.connection import PostConnection
from errand.webhooks.post.names import Names
from errand.webhooks.post.proxy import EgressProxy, is_address
from errand.webhooks.post_fault import PostFault

NEXT_ADDRESS_S = 0.25
"""RFC 8305 §8: how long one address may take before the next is tried beside it."""


class Origin(NamedTuple):
    """Whom a connection leads to; connections of one origin serve any of its URLs."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    """None without TLS; else with which trust and which certificate of ours."""


class Dialer:
    """Opens guarded connections."""

    def __init__(self, guard: AddressGuard, proxy: EgressProxy | None = None) -> None:
        self._guard = guard
        self._proxy = proxy
        self._names = Names()

    async def dial(self, origin: Origin, timings_ms: dict[str, float]) -> PostConnection:
        """A new connection; notes in `timings_ms` how long the lookup and the connection took. Raises PostFault."""
        started_s = time.perf_counter()
        self._check(origin)
        if self._proxy is None or not self._proxy.leads_to(origin.host, origin.port):
            addresses = self._allowed(await self._names.addresses(origin.host, origin.port), origin.host)
            found_s = time.perf_counter()
            timings_ms["dns"] = round((found_s - started_s) * 1000, 3)
            taken = await self._connect(addresses, origin.host)
        else:
            found_s, timings_ms["dns"] = started_s, 0.0
            taken = await self._through(self._proxy, origin)
        connection = await _shake_hands(taken, origin)
        timings_ms["connect"] = round((time.perf_counter() - found_s) * 1000, 3)
        return connection

    async def _through(self, proxy: EgressProxy, origin: Origin) -> socket.socket:
        """The proxy looks up names and judges their addresses; an address in the URL is judged here, too."""
        if is_address(origin.host):
            self._allowed(await self._names.addresses(origin.host, origin.port), origin.host)
        try:
            origin.host.encode("idna")
        except UnicodeError:  # the handshake would find out, of which uvloop has nobody notified
            raise PostFault("blocked", f"not the name of a host: {origin.host}") from None
        return await proxy.connect(self._names, origin.host, origin.port)

    def _check(self, origin: Origin) -> None:
        try:
            self._guard.check_origin(origin.host, origin.port, tls=origin.tls is not None)
        except AddressRefused as error:
            raise PostFault("blocked", str(error)) from None

    def _allowed(self, addresses: list[AddressInfo], host: str) -> list[AddressInfo]:
        """Those that the guard lets through. Raises PostFault if it is none: which they are is not said."""
        allowed = [info for info in addresses if self._allows(info)]
        if not allowed:
            raise _refused(host)
        return allowed

    def _allows(self, info: AddressInfo) -> bool:
        host, port = str(info[4][0]).partition("%")[0], int(str(info[4][1]))
        return self._guard.allows(ipaddress.ip_address(host), port)

    async def _connect(self, addresses: list[AddressInfo], host: str) -> socket.socket:
        try:
            return await aiohappyeyeballs.start_connection(
                addresses,
                happy_eyeballs_delay=NEXT_ADDRESS_S,
                # once more, on the very address of the socket
                socket_factory=self._guard.open_socket,
            )
        except AddressRefused:
            raise _refused(host) from None
        except (OSError, RuntimeError) as error:  # uvloop has RuntimeErrors of its own
            raise PostFault("refused", f"{host}: {getattr(error, 'strerror', None) or error}") from None


def _refused(host: str) -> PostFault:
    """A name may have another address the next time, but for those of this machine (RFC 6761, section 6.3)."""
    is_final = is_address(host) or host.rstrip(".").rpartition(".")[2] == "localhost"
    return PostFault("blocked", str(AddressRefused()), is_final=is_final)


async def _shake_hands(taken: socket.socket, origin: Origin) -> PostConnection:
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    loop = asyncio.get_running_loop()
    server_hostname = origin.host if origin.tls else None
    try:
        _, connection = await loop.create_connection(
            PostConnection, sock=taken, ssl=origin.tls, server_hostname=server_hostname
        )
    except (ssl.SSLError, OSError) as error:
        taken.close()
        reason = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
        raise PostFault("tls", f"{origin.host}: {reason or 'the handshake was broken off'}") from None
    except BaseException:
        taken.close()
        raise
    return connection
