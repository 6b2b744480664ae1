"""Bounds what refused credentials cost, and how fast keys can be guessed, for each address of a client.

More refusals than `REFUSAL_LIMIT` allows are answered 429. An address that has shown so many different wrong keys
guesses: even a right key is held back there then, for otherwise the answer would say that it was guessed. A key that
was admitted from there before is not, nor does one wrong key count twice: a client with an old key, behind the same
proxy or NAT as others, must not lock them out.

Each API process counts for itself.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address

from errand.settings import RequestRate

MAX_ADDRESSES = 2_048
MAX_ADMITTED = 10_000
"""Above these numbers the oldest are forgotten: memory is bounded, whatever number of addresses somebody has."""
IPV6_SITE_BITS = 64
"""A client with one IPv6 address has a network of 2^64 of them."""


@dataclass(slots=True)
class _Window:
    """The refusals of one address since some moment of the monotonic clock."""

    until_s: float
    refusals: int = 0
    guesses: set[bytes] = field(default_factory=set)


class RefusalThrottle:
    """Counts refusals by address, in windows that begin with the first of them."""

    def __init__(self, limit: RequestRate) -> None:
        self._limit = limit
        self._windows: dict[str, _Window] = {}
        self._admitted: dict[tuple[str, bytes], None] = {}

    def refuse(self, address: str, *, guess: str = "") -> int | None:
        """Counts a refusal, of a wrong key if one was shown. In how many seconds to come back; None if now is fine."""
        window = self._window(_site(address))
        window.refusals += 1
        if guess and len(window.guesses) < self._limit.quota:
            window.guesses.add(blake2b(guess.encode(), digest_size=8).digest())
        return _wait_s(window) if window.refusals > self._limit.quota else None

    def admit(self, address: str, digest: bytes) -> int | None:
        """Notes that a right key (its digest) came from that address. In how many seconds, if it is held back."""
        known = (address, digest)
        if known not in self._admitted:
            window = self._windows.get(_site(address))
            if window and len(window.guesses) >= self._limit.quota and window.until_s > time.monotonic():
                return _wait_s(window)
            if len(self._admitted) >= MAX_ADMITTED:
                del self._admitted[next(iter(self._admitted))]
            self._admitted[known] = None
        return None

    def _window(self, site: str) -> _Window:
        now_s = time.monotonic()
        window = self._windows.get(site)
        if window is None or window.until_s <= now_s:
            self._windows.pop(site, None)
            if len(self._windows) >= MAX_ADDRESSES:
                del self._windows[next(iter(self._windows))]
            window = self._windows[site] = _Window(now_s + self._limit.window_s)
        return window


def _site(address: str) -> str:
    """The network of a client that has many addresses, else its address."""
    try:
        ip = ip_address(address)
    except ValueError:  # a unix socket, or a test
        return address
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is None:
        return str(int(ip) >> (128 - IPV6_SITE_BITS))
    return address


def _wait_s(window: _Window) -> int:
    return max(math.ceil(window.until_s - time.monotonic()), 1)
