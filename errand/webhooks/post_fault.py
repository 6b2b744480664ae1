"""Why a POST brought no status, in one word for programs and a sentence."""

from __future__ import annotations

from typing import Literal

FaultKind = Literal["blocked", "dns", "refused", "tls", "timeout", "reset", "protocol", "proxy"]
"""`blocked`: the guard or the URL forbids it. `dns`: the name has no address. `refused`: no connection. `tls`: no
trust, or no handshake. `timeout`: no status line in time. `reset`: closed before a status line. `protocol`: what came
is no HTTP/1 answer. `proxy`: the egress proxy is not there, or made no connection."""


class PostFault(Exception):
    """There is no status. `blocked` will stay so; any other kind may work later."""

    def __init__(self, kind: FaultKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: FaultKind = kind


class NotTried(Exception):
    """The receiver was not asked, for a reason of this process alone: it is no fault, and uses no try."""
