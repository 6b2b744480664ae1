"""Reads an ASGI scope: the path under which the API is mounted, a header, a length, the connection.

Starlette's way to a header takes longer than most checks of what the header says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

from starlette.types import Scope

CONNECTION = "errand.connection"
"""The key of a scope under which a server puts its `Connection`. Other servers put nothing there."""


FIRST_HEADERS = "errand.first_headers"
"""The key of a scope under which `first_headers` keeps what it has made."""


PLAIN_IN_PATH = "/!$&()*+,;=:@"
"""What a path may have unquoted (RFC 3986, section 3.3), but for the `'` that ends a text in a script."""


MAX_DIGITS = 18
ENDLESS = 10**MAX_DIGITS


class Connection(Protocol):
    """The connection of a request, as Errand's own server hands it on. `errand.server.http_protocol` implements it."""

    transport: asyncio.Transport
    flow: Any
    """uvicorn's FlowControl."""
    cycle: Any
    """uvicorn's RequestResponseCycle: the request that is answered now."""
    at_shutdown: Callable[[], None]
    """Called when the process begins to stop, so that an endless answer can end itself."""


def root_path(scope: Scope) -> str:
    """The path under which the API is mounted or served by a proxy, such as `/admin/queue`; usually empty.

    Every link in an answer begins with it. It is quoted: an app may mount the API at a path with a parameter, and what
    stands there is the client's, who could end a header or a script with it.
    """
    root = _raw_root(scope)
    return quote(root, safe=PLAIN_IN_PATH) if root else ""


def api_path(scope: Scope) -> str:
    """The path of the request within the API, such as `/v1/jobs`: without the path of the mount."""
    path, root = str(scope["path"]), _raw_root(scope)
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _raw_root(scope: Scope) -> str:
    return str(scope.get("root_path", "")).rstrip("/")


def announced_bytes(content_length: bytes) -> int | None:
    """The size that a `Content-Length` announces; None for what is no number.

    It may have any number of digits, of which Python reads 4,300 at most: what is too large for anybody is ENDLESS.
    """
    if not content_length.isdigit():
        return None
    digits = content_length.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= MAX_DIGITS else ENDLESS


def first_headers(scope: Scope) -> dict[bytes, bytes]:
    """The first header of each name, in lower case. Made once for a request: of a usual one it is asked seven times."""
    headers = scope["headers"]
    known: tuple[Any, dict[bytes, bytes]] | None = scope.get(FIRST_HEADERS)
    # a copy of a scope may have been given other headers
    if known is None or known[0] is not headers:
        known = scope[FIRST_HEADERS] = headers, dict(reversed(headers))
    return known[1]


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name, given in lower case; empty if there is none."""
    return str(first_headers(scope).get(name, b""), "latin-1")
