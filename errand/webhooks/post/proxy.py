"""An egress proxy: connections go through it (HTTP CONNECT, RFC 9110 §9.3.6), and it decides what they may reach."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import os
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import aiohappyeyeballs

from errand.webhooks.post.names import Names
from errand.webhooks.post_fault import PostFault

STATUS_LINE = re.compile(rb"HTTP/1\.\d (\d{3})[^\r\n]*")
HEAD_LIMIT_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressProxy:
    """Where it is, and what it is shown."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)
    """The value of `Proxy-Authorization`."""
    direct: Collection[tuple[str, int]] = ()
    """Hosts and ports that are reached without it: the webhook sink of this machine."""

    @classmethod
    def at(cls, url: str, *, direct: Collection[tuple[str, int]] = ()) -> EgressProxy:
        """From `http://user:password@host:port`."""
        parts = urlsplit(url)
        credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        basic = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        return cls(
            host=parts.hostname or "",
            port=parts.port or 80,
            authorization=basic if parts.username else None,
            direct=direct,
        )

    def leads_to(self, host: str, port: int) -> bool:
        """True if connections there go through it."""
        return (host, port) not in self.direct

    async def connect(self, names: Names, host: str, port: int) -> socket.socket:
        """A connection to that host, by its name. Raises PostFault `proxy`."""
        taken = await self._reach(names)
        try:
            await self._open_tunnel(taken, host, port)
        except OSError as error:
            taken.close()
            raise PostFault("proxy", f"the egress proxy: {error.strerror or error}") from None
        except BaseException:
            taken.close()
            raise
        return taken

    async def _reach(self, names: Names) -> socket.socket:
        try:
            return await aiohappyeyeballs.start_connection(await names.addresses(self.host, self.port))
        except (OSError, RuntimeError, PostFault) as error:  # uvloop has RuntimeErrors of its own
            raise PostFault("proxy", f"the egress proxy cannot be reached: {_why(error)}") from None

    async def _open_tunnel(self, taken: socket.socket, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        shown = f"Proxy-Authorization: {self.authorization}\r\n" if self.authorization else ""
        await loop.sock_sendall(taken, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{shown}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT_BYTES:
            part = await loop.sock_recv(taken, 4096)
            if not part:
                break
            head += part
        found = STATUS_LINE.match(head)
        if found is None:
            raise PostFault("proxy", "the egress proxy gave no answer, or one that is none")
        if not found[1].startswith(b"2"):
            raise PostFault("proxy", f"the egress proxy answered {found[1].decode()}")
        if head.find(b"\r\n\r\n") != len(head) - 4:
            raise PostFault("proxy", "the egress proxy opened no tunnel")


def _why(error: Exception) -> str:
    """Without the proxy's name and address, which are nobody's business: a tenant reads what became of its events."""
    if isinstance(error, PostFault):
        return "its name was not found"
    number = getattr(error, "errno", None)
    return os.strerror(number) if number and number > 0 else "no connection"


def is_address(host: str) -> bool:
    """True if the host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
