"""Decides which addresses a job may connect to, so that a URL from outside cannot reach what is inside (SSRF).

It checks the address at the moment of the connection: a name that resolves to another address a second later
(DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from errand.resources.guard.ranges import IpAddress, is_public
from errand.resources.guard.url_policy import UrlPolicy

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[object, ...]]


IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressRefused(OSError):
    """The guard does not let a connection to that address through. Trying again would not help."""

    def __init__(self, fault: str = "its address is not public (WEBHOOK_ALLOW_NETWORKS lets networks through)") -> None:
        # one text for all addresses: it must not show a caller what a name resolves to in this network
        super().__init__(fault)


class AddressGuard:
    """Lets public addresses through, and the networks and single endpoints named; ports and URLs as `policy` says."""

    def __init__(
        self,
        allow_networks: Iterable[IpNetwork] = (),
        *,
        allow_endpoints: Iterable[tuple[str, int]] = (),
        policy: UrlPolicy | None = None,
    ) -> None:
        self._networks = tuple(allow_networks)
        self._endpoints = frozenset(allow_endpoints)
        self._policy = policy or UrlPolicy()

    def allows(self, address: IpAddress, port: int) -> bool:
        """True if a connection may be made."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if (str(address), port) in self._endpoints:
            return True
        if not self._policy.takes_port(port):
            return False
        return any(address in network for network in self._networks) or is_public(address)

    def check_origin(self, host: str, port: int, *, tls: bool) -> None:
        """Raises AddressRefused if nothing may be asked there, whatever address the host has."""
        if fault := self._policy.fault_of_origin(host, port, tls=tls, known=self._endpoints):
            raise AddressRefused(f"the URL {fault}")

    def open_socket(self, info: AddressInfo) -> socket.socket:
        """A socket for one candidate address, as `getaddrinfo` describes it. Raises AddressRefused."""
        family, kind, protocol, _, address = info
        host, port = str(address[0]).partition("%")[0], int(str(address[1]))
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.allows(ipaddress.ip_address(host), port):
            raise AddressRefused
        return socket.socket(family, kind, protocol)
