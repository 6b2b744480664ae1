"""The table of address ranges, and which of them the whole Internet can reach.

Python's `is_global` lets multicast, Azure's host agent and several IPv6 ranges that embed IPv4 addresses through.
"""

from __future__ import annotations

import ipaddress

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


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


def is_public(address: IpAddress) -> bool:
    """True for a unicast address that the whole Internet can reach and that does not embed another one."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in REFUSED_IPV4)
    return address in GLOBAL_IPV6 and not any(address in network for network in REFUSED_IPV6)
