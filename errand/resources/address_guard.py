"""Decides which addresses a job may connect to, so that a URL from outside cannot reach what is inside (SSRF).

It checks the address at the moment of the connection: a name that resolves to another address a second later
(DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, HttpUrl

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


REFUSED_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        # the IANA IPv4 special-purpose registry (RFC 6890 and later)
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        # multicast, reserved, broadcast
        *("224.0.0.0/4", "240.0.0.0/4"),
        # Azure's host agent, which answers to every virtual machine there
        "168.63.129.16/32",
    )
)


GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
"""For IPv6 the list says what is allowed: only what IANA assigned as global unicast …"""


REFUSED_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        # … without the special-purpose ranges in it: Teredo, benchmarking, ORCHID, 6to4, documentation, AS112
        *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48"),
    )
)


class AddressRefused(OSError):
    """The guard does not let a connection to that address through. Trying again would not help."""

    def __init__(self) -> None:
        # one text for all addresses: it must not show a caller what a name resolves to in this network
        super().__init__("its address is not public (WEBHOOK_ALLOW_NETWORKS lets networks through)")


class AddressGuard:
    """Lets public addresses through, and the networks and single endpoints named."""

    def __init__(
        self, allow_networks: Iterable[IpNetwork] = (), *, allow_endpoints: Iterable[tuple[str, int]] = ()
    ) -> None:
        self._networks = tuple(allow_networks)
        self._endpoints = frozenset(allow_endpoints)

    def allows(self, address: IpAddress, port: int) -> bool:
        """True if a connection may be made."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if (str(address), port) in self._endpoints:
            return True
        return any(address in network for network in self._networks) or is_public(address)

    def open_socket(self, info: AddressInfo) -> socket.socket:
        """A socket for one candidate address, as `getaddrinfo` describes it. Raises AddressRefused."""
        family, kind, protocol, _, address = info
        host, port = str(address[0]).partition("%")[0], int(str(address[1]))
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.allows(ipaddress.ip_address(host), port):
            raise AddressRefused
        return socket.socket(family, kind, protocol)


def is_public(address: IpAddress) -> bool:
    """True for a unicast address that the whole Internet can reach and that does not embed another one."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in REFUSED_IPV4)
    return address in GLOBAL_IPV6 and not any(address in network for network in REFUSED_IPV6)


def _carries_no_credentials(url: HttpUrl) -> HttpUrl:
    if url.username or url.password:
        raise ValueError("put no credentials in the URL: args are shown in every view of the job")
    return url


CallerUrl = Annotated[HttpUrl, AfterValidator(_carries_no_credentials)]
"""`http` or `https`, without a user and password in it."""
