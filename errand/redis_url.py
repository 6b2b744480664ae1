"""What a `REDIS_URL` says: read here alone, for the settings that check it, for connections, and for the doctor.

By hand, for to urllib several sentinels are no host, and newer Pythons refuse some of them (`h1:1,[::1]:2`). No error
holds a part of the URL, which may be a part of a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote

ENCODE = "(in a password, '/', '?', '#' and '@' must be %-encoded)"


SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
SERVER_PORT, SENTINEL_PORT = 6_379, 26_379


TLS_OPTIONS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
SENTINEL_OPTIONS = frozenset({"sentinel_username", "sentinel_password", "sentinel_tls", "tls"})
UNIX_OPTIONS = frozenset({"db", "username", "password"})
WORDS = {
    **dict.fromkeys(("tls", "sentinel_tls", "ssl_check_hostname"), ("true", "false")),
    "ssl_cert_reqs": ("required", "none"),
}
"""Option → the values that it may have."""


INSTALLATION = "errand"
"""The name of an installation in a cluster whose URL gives it none."""


_INSTALLATION = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_REST = re.compile(r"(?:(?P<login>[^/?]*)@)?(?P<addresses>[^/?]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?", re.DOTALL)
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:,\[\]\s]+)(?::(?P<port>\d+))?")


@dataclass(frozen=True, kw_only=True)
class Access:
    """How servers of one kind are connected to."""

    tls: bool
    options: Mapping[str, Any]
    """User, password, database and files for TLS, as redis-py names them."""


@dataclass(frozen=True, kw_only=True)
class RedisUrl:
    """`redis[s]://…` for a server, `unix://…` for a local one, `redis[s]+sentinel://…` for the master of a Sentinel,
    `redis[s]+cluster://…` for a cluster.

    - `redis[s]://[user:password@]host[:port][/db][?option=…&…]`; `rediss` means TLS, with redis-py's options `ssl_…`;
    - `unix:///path[?db=…&username=…&password=…]`;
    - `redis[s]+sentinel://[user:password@]host[:port],…/master[/db][?option=…&…]`: user, password and database are
      those of the Redis servers, `rediss` means TLS to them and to the sentinels. Options: `sentinel_username`,
      `sentinel_password`, `sentinel_tls` and `tls` (`true` or `false`, if one of the two differs from the other), and
      `ssl_…` for both;
    - `redis[s]+cluster://[user:password@]host[:port],…[/installation][?ssl_…&…]`: some nodes of the cluster, which name
      the others. Several installations in one cluster have names of their own.
    """

    scheme: str
    addresses: tuple[tuple[str, int], ...]
    """Host and port of the server, or of each sentinel or node that is named; none for a unix socket."""
    socket: str
    """The path of the unix socket; empty for other schemes."""
    master: str
    """The name that Sentinel knows the master by; empty for other schemes."""
    installation: str
    """Whose jobs they are, in a cluster; empty for other schemes."""
    servers: Access
    sentinels: Access
    passwords: tuple[str, ...]
    """As they stand in the URL, %-encoded or not."""
    shown: str
    """The URL for people: without user, passwords and options."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ValueError with what is wrong, in words that hold no part of the URL."""
        scheme, parts = _split(url)
        addresses = () if scheme == "unix" else _addresses_in(scheme, parts["addresses"])
        raw_options = _raw_options(parts["query"] or "")
        options = {name: unquote(value) for name, value in raw_options.items()}
        _check_options(scheme, options)
        socket, name, db = _path_in(scheme, parts)
        servers, sentinels = _accesses(scheme, parts["login"] or "", options, db=db)
        raw_password = (parts["login"] or "").partition(":")[2]
        return cls(
            scheme=scheme,
            addresses=addresses,
            socket=socket,
            master=name if scheme.endswith("+sentinel") else "",
            installation=name if scheme.endswith("+cluster") else "",
            servers=servers,
            sentinels=sentinels,
            passwords=tuple(
                filter(None, [raw_password, *(value for name, value in raw_options.items() if "password" in name)])
            ),
            shown=f"{scheme}://{parts['addresses']}{parts['path'] or ''}",
        )

    @property
    def by_sentinel(self) -> bool:
        return self.scheme.endswith("+sentinel")

    @property
    def by_cluster(self) -> bool:
        return self.scheme.endswith("+cluster")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Of the server, or of each sentinel or node that is named; none for a unix socket."""
        return tuple(host for host, _ in self.addresses)


def _split(url: str) -> tuple[str, re.Match[str]]:
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"must begin with {' or '.join(f'{known}://' for known in SCHEMES)}")
    if "#" in rest:
        raise ValueError(f"must not hold a '#' {ENCODE}")
    parts = _REST.fullmatch(rest)
    assert parts is not None, "the form has room for any text"
    return scheme, parts


def _raw_options(query: str) -> dict[str, str]:
    return {name: value for name, _, value in (option.partition("=") for option in query.split("&") if option)}


def _addresses_in(scheme: str, text: str) -> tuple[tuple[str, int], ...]:
    """Each `host`, `host:port`, `[::1]` or `[::1]:port`; several for sentinels and nodes alone."""
    if scheme.endswith("+sentinel"):
        found, port, fault = text.split(","), SENTINEL_PORT, "has no readable sentinels: HOST:PORT, comma separated"
    elif scheme.endswith("+cluster"):
        found, port, fault = text.split(","), SERVER_PORT, "has no readable nodes: HOST:PORT, comma separated"
    else:
        found, port, fault = [text], SERVER_PORT, "has no readable host and port"
    if not text or (text.startswith(":") and port == SERVER_PORT and text[1:].isdecimal()):
        raise ValueError("names no host")
    addresses = tuple(_address(one, default_port=port) for one in found)
    if None in addresses:
        raise ValueError(f"{fault} {ENCODE}")
    return addresses  # type: ignore[return-value]  # none of them is None


def _address(text: str, *, default_port: int) -> tuple[str, int] | None:
    address = _ADDRESS.fullmatch(text)
    port = int(address["port"] or default_port) if address else 0
    return (unquote(address["host"].strip("[]")), port) if address and 0 < port <= 65_535 else None


def _path_in(scheme: str, parts: re.Match[str]) -> tuple[str, str, int | None]:
    """The socket's path, the name of the master or the installation, the number of the database: those that such a URL
    has in its path.
    """
    path = parts["path"] or ""
    if scheme == "unix":
        if parts["addresses"] or not path.strip("/"):
            raise ValueError("needs an absolute path: unix:///some/where")
        return unquote(path), "", None
    if scheme.endswith("+cluster"):
        return "", _installation(path[1:].rstrip("/")), None
    master, _, db = path[1:].partition("/") if scheme.endswith("+sentinel") else ("", "", path[1:])
    if scheme.endswith("+sentinel") and not master:
        raise ValueError("needs the master's name: redis+sentinel://h1:26379,h2:26379/mymaster")
    return "", unquote(master), _database(db) if db.strip("/") else None


def _installation(text: str) -> str:
    if text and not _INSTALLATION.fullmatch(text):
        raise ValueError(
            "has no database to choose, for a cluster has one; what may follow the nodes names the installation, "
            "if there are several: a letter, then up to 63 letters, digits, '.', '_' and '-'"
        )
    return text or INSTALLATION


def _database(text: str) -> int:
    if not re.fullmatch(r"[0-9]+/?", text):
        raise ValueError("the database must be a number")
    return int(text.rstrip("/"))


def _check_options(scheme: str, options: Mapping[str, str]) -> None:
    known = _known_options(scheme, options)
    if not options.keys() <= known:
        # not quoted: it may be a part of a password
        raise ValueError(f"has an unknown option; here are known, ssl_… only with TLS: {', '.join(sorted(known))}")
    for name, allowed in WORDS.items():
        if name in options and options[name] not in allowed:
            raise ValueError(f"its option {name} must be {' or '.join(allowed)}")
    if ("ssl_certfile" in options) != ("ssl_keyfile" in options):
        raise ValueError("ssl_certfile and ssl_keyfile are needed together")


def _known_options(scheme: str, options: Mapping[str, str]) -> frozenset[str]:
    if scheme == "unix":
        return UNIX_OPTIONS
    with_tls = scheme.startswith("rediss") or "true" in (options.get("tls"), options.get("sentinel_tls"))
    of_kind = {"sentinel": SENTINEL_OPTIONS, "cluster": frozenset[str]()}
    own = of_kind.get(scheme.partition("+")[2], frozenset({"db"}))
    return own | (TLS_OPTIONS if with_tls else frozenset())


def _accesses(scheme: str, login: str, options: Mapping[str, str], *, db: int | None) -> tuple[Access, Access]:
    """To the servers and to the sentinels."""
    user, _, password = (unquote(part) for part in login.partition(":"))
    db = _database(options["db"]) if "db" in options else db
    named = {
        "username": options.get("username", user),
        "password": options.get("password", password),
        "db": db or 0,
    }
    own = {"username": options.get("sentinel_username", ""), "password": options.get("sentinel_password", "")}
    with_tls = "true" if scheme.startswith("rediss") else "false"
    return (
        _access(named, options, tls=options.get("tls", with_tls) == "true"),
        _access(own, options, tls=options.get("sentinel_tls", with_tls) == "true"),
    )


def _access(named: Mapping[str, Any], options: Mapping[str, str], *, tls: bool) -> Access:
    given = {name: value for name, value in named.items() if value != ""}
    if not tls:
        return Access(tls=False, options=given)
    files = {name: options[name] for name in TLS_OPTIONS & options.keys()}
    checks_name = options.get("ssl_check_hostname") != "false" and options.get("ssl_cert_reqs") != "none"
    # said always: redis-py 5 would take any server's certificate of a trusted authority for that of ours
    return Access(tls=True, options={**given, **files, "ssl_check_hostname": checks_name})
