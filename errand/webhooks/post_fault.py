"""Why a POST brought no status, in one word for programs and a sentence."""

from __future__ import annotations

from typing import Literal

FaultKind = Literal["blocked", "dns", "refused", "tls", "timeout", "reset", "protocol", "proxy"]
"""`blocked`: the guard forbids it, or the URL is none. `dns`: the name has no address. `refused`: no connection.
`tls`: no trust, or no handshake. `timeout`: no status line in time. `reset`: closed before a status line. `protocol`:
what came is no HTTP/1 answer. `proxy`: the egress proxy is not there, or made no connection."""


class PostFault(Exception):
    """There is no status."""

    def __init__(self, kind: FaultKind, reason: str, *, is_final: bool | None = None) -> None:
        """`is_final`: it will stay so, as what is `blocked` does unless that was found out by a name."""
        super().__init__(reason)
        self.kind: FaultKind = kind
        self.is_final = kind == "blocked" if is_final is None else is_final


class NotTried(Exception):
    """The receiver was not asked, for a reason of this process alone: it is no fault, and uses no try."""
