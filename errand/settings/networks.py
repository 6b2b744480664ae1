"""A range of addresses, as settings name it: `10.0.0.0/8`, `::1`."""

from __future__ import annotations

import ipaddress

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
