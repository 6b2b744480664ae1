"""Signed, expiring links to the portal: who holds one may manage the endpoints of one tenant until it expires."""

from __future__ import annotations

import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from pydantic import SecretStr

PURPOSE = "webhook portal"
"""What is signed begins with it: no signed URL of a file or an image reads like a link."""


class LinkRefused(Exception):
    """It is not signed with one of the keys, or has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalLink:
    """What a link allows."""

    tenant: str
    expires_s: int
    """In seconds since 1970."""

    def signed(self, secret: SecretStr) -> str:
        """`TENANT.EXPIRES.SIGNATURE`, each fit for a query as it is."""
        return f"{self._named}.{self._signature(secret)}"

    @classmethod
    def read(cls, text: str, secrets: Sequence[SecretStr]) -> PortalLink:
        """The link in such a text. Raises LinkRefused."""
        tenant, _, rest = text.partition(".")
        expires = rest.partition(".")[0]
        try:
            link = cls(tenant=urlsafe_b64decode(_padded(tenant)).decode(), expires_s=int(expires[:12]))
        except ValueError:
            raise LinkRefused("this is no link") from None
        # all are compared, each in constant time: the first signs, the others are on their way out
        matches = [hmac.compare_digest(link.signed(secret).encode(), text.encode()) for secret in secrets]
        if not any(matches):
            raise LinkRefused("the link is not signed by this service")
        if link.expires_s < time.time():
            raise LinkRefused("the link has expired: ask for another one")
        return link

    @property
    def _named(self) -> str:
        return f"{_base64(self.tenant.encode())}.{self.expires_s}"

    def _signature(self, secret: SecretStr) -> str:
        signed = f"{PURPOSE}\n{self._named}".encode()
        return _base64(hmac.digest(secret.get_secret_value().encode(), signed, sha256))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)
