"""Which URLs of callers are taken at all: no credentials, a port that webhooks use, https if that is asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from errand.settings import Settings

WEB_PORTS = frozenset({80, 443})
FIRST_FREE_PORT = 1024
"""Below it lie services that are no web servers (SSH, SMTP, DNS): a job that speaks HTTP to
them does what its caller may not."""
SCHEME_PORTS = {"http": 80, "https": 443}


Origin = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlPolicy:
    """What an installation takes."""

    https_only: bool = False
    more_ports: frozenset[int] = frozenset()
    """Below 1024, beside 80 and 443."""

    @classmethod
    def of(cls, settings: Settings) -> UrlPolicy:
        """As the settings have it."""
        return cls(https_only=settings.webhook_https_only, more_ports=frozenset(settings.webhook_allow_ports))

    def takes_port(self, port: int) -> bool:
        """True for 80, 443, those from 1024, and those that the settings name."""
        return port in WEB_PORTS or port >= FIRST_FREE_PORT or port in self.more_ports

    def fault_of(self, url: str, *, known: Collection[Origin] = ()) -> str | None:
        """What is wrong with the URL, in words that follow "the URL"; None if nothing is.

        `known`: hosts and ports that are let through whatever they are.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or SCHEME_PORTS.get(parts.scheme, 0)
        except ValueError:
            return "is no URL"
        if parts.scheme not in SCHEME_PORTS or not host:
            return "must begin with https:// or http://, and name a host"
        if "@" in parts.netloc:
            return "has credentials in it"
        return self.fault_of_origin(host, port, tls=parts.scheme == "https", known=known)

    def fault_of_origin(self, host: str, port: int, *, tls: bool, known: Collection[Origin] = ()) -> str | None:
        """The same of a host and a port."""
        if (host, port) in known:
            return None
        if self.https_only and not tls:
            return "must be https (WEBHOOK_HTTPS_ONLY)"
        if not self.takes_port(port):
            return (
                f"has the port {port}: only 80, 443 and those from 1024 are allowed (WEBHOOK_ALLOW_PORTS adds others)"
            )
        return None
