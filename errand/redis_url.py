"""What a `REDIS_URL` with several sentinels says: read here alone, by the settings and by the connections.

By hand, for to urllib several hosts are none, and newer Pythons refuse some of them (`h1:1,[::1]:2`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote

DEFAULT_PORT = 26_379
ENCODE = "(in a password, '/', '?', '#' and '@' must be %-encoded)"

_FORM = re.compile(
    r"redis(?P<tls>s?)\+sentinel://(?:(?P<login>[^/?#]*)@)?(?P<addresses>[^/?#]*)"
    r"(?:/(?P<master>[^/?#]*))?(?:/(?P<db>[^?#]*))?(?:\?(?P<options>[^#]*))?(?:#.*)?"
)
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+)(?::(?P<port>\d+))?")


@dataclass(frozen=True)
class SentinelUrl:
    """`redis[s]+sentinel://[user:password@]host[:port],…/master[/db][?option=…&…]`, taken apart.

    User and password, and the database, are those of the Redis servers; `rediss` means TLS to them and to the
    sentinels. Options: `sentinel_username`, `sentinel_password`, `sentinel_tls` and `tls` (`true` or `false`, where
    one of the two differs from the other), and redis-py's `ssl_…` for both.
    """

    addresses: tuple[tuple[str, int], ...]
    master: str
    servers: dict[str, Any]
    """Options of the connections to the servers, as redis-py names them."""
    sentinels: dict[str, Any]
    """Those of the connections to the sentinels."""

    @staticmethod
    def matches(url: str) -> bool:
        """True for such a URL, also one with mistakes in it."""
        return url.partition("://")[0].endswith("+sentinel")

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ValueError with what is wrong, in words that hold no part of a password."""
        parts = _FORM.fullmatch(url)
        if parts is None or not _addresses_are_readable(parts["addresses"]):
            raise ValueError(f"has no readable sentinels: HOST:PORT, comma separated {ENCODE}")
        if not parts["master"]:
            raise ValueError("needs the master's name: redis+sentinel://h1:26379,h2:26379/mymaster")
        if not re.fullmatch(r"\d*/?", parts["db"] or ""):
            raise ValueError("the database must be a number")
        options = {
            name: unquote(value)
            for name, _, value in (option.partition("=") for option in (parts["options"] or "").split("&") if option)
        }
        tls = {side: options.pop(side, str(bool(parts["tls"]))) for side in ("tls", "sentinel_tls")}
        own = {
            name: value
            for name in ("username", "password")
            if (value := options.pop(f"sentinel_{name}", None)) is not None
        }
        user, _, password = (unquote(part) for part in (parts["login"] or "").partition(":"))
        login = {name: value for name, value in (("username", user), ("password", password)) if value}
        servers = {**login, "db": int((parts["db"] or "").strip("/") or 0), **_tls_options(options, which=tls["tls"])}
        sentinels = {**own, **_tls_options(options, which=tls["sentinel_tls"])}
        return cls(tuple(map(_address, parts["addresses"].split(","))), unquote(parts["master"]), servers, sentinels)


def _tls_options(options: dict[str, str], *, which: str) -> dict[str, Any]:
    if which.lower() != "true":
        return {}
    checks_name = options.get("ssl_check_hostname", "true").lower() == "true"
    checked = {"ssl_check_hostname": checks_name and options.get("ssl_cert_reqs") != "none"}
    return {"ssl": True, **options, **checked}


def _addresses_are_readable(text: str) -> bool:
    parts = [_ADDRESS.fullmatch(address) for address in text.split(",")]
    return all(part is not None and 0 < int(part["port"] or 1) <= 65_535 for part in parts)


def _address(text: str) -> tuple[str, int]:
    """`host`, `host:port`, `[::1]` or `[::1]:port`."""
    part = _ADDRESS.fullmatch(text)
    assert part is not None, "checked before"
    return unquote(part["host"].strip("[]")), int(part["port"] or DEFAULT_PORT)
