"""TLS with servers that callers name: what a handshake may cost this process.

A handshake is computed in the event loop. The server chooses how: of what the standard library offers, a Diffie-Hellman
exchange over a prime of 10,000 bits took a second of CPU time, in which no other job of the process went on.
"""

from __future__ import annotations

import ssl
import time
from typing import ClassVar

MAX_CPU_S = 0.05
"""An ordinary handshake takes 1 to 2 ms, and 20 if it shows a certificate with the longest key of an endpoint."""
REFUSED_S = 60.0
"""How long nothing is tried with a host whose handshake cost more: many deliveries to it may be under way."""
MAX_REFUSED = 1000


class BoundedHandshake(ssl.SSLObject):
    """Counts the CPU time of its handshake. One that costs too much is ended, and no other starts with that host."""

    refused_until_s: ClassVar[dict[str, float]]
    """By host, on the monotonic clock. Each context has its own: nobody can have a host refused to another's."""
    _spent_s = 0.0
    _has_started = False

    def do_handshake(self) -> None:
        """Goes on with it, as far as what has come allows. Raises SSLError."""
        if not self._has_started:
            # never refused: uvloop has not taken over the socket by then, and closes its number a second time later on
            self._has_started = True
            super().do_handshake()
            return
        if self.refused_until_s.get(self.server_hostname or "", 0.0) > time.monotonic():
            raise _too_costly()
        started_s = time.thread_time()
        try:
            super().do_handshake()
        finally:
            self._spend(time.thread_time() - started_s)

    def _spend(self, cpu_s: float) -> None:
        self._spent_s += cpu_s
        if self._spent_s > MAX_CPU_S:
            if len(self.refused_until_s) >= MAX_REFUSED:
                self.refused_until_s.clear()
            self.refused_until_s[self.server_hostname or ""] = time.monotonic() + REFUSED_S
            raise _too_costly() from None


def _too_costly() -> ssl.SSLError:
    return ssl.SSLError(ssl.SSLErrorNumber.SSL_ERROR_SSL, "the handshake costs too much")


def outgoing_context(*, cafile: str | None = None, cadata: str | None = None) -> ssl.SSLContext:
    """The standard library's own, with the certificates to trust in place of the system's if they are given.

    Without finite-field Diffie-Hellman in TLS 1.2, whose prime the server makes up (RFC 9325 §4.1 advises against it;
    who has TLS 1.2 has elliptic curves), and without renegotiation. Raises OSError, ssl.SSLError, ValueError.
    """
    context = ssl.create_default_context(cafile=cafile, cadata=cadata)
    # as the machine's own policy has them; those of TLS 1.3 are not set by this
    context.set_ciphers(":".join(each["name"] for each in context.get_ciphers() if each["kea"] != "kx-dhe"))
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.sslobject_class = type("Handshake", (BoundedHandshake,), {"refused_until_s": {}})
    return context
