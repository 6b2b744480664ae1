"""Signs deliveries as Standard Webhooks 1.0 says: `v1` (HMAC-SHA256) and `v1a` (ed25519)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from errand.extras import needs

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HMAC_PREFIX, SIGNING_PREFIX, PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
ED25519_SEED_BYTES = 32


PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What may be a `webhook-id` as it is. Never a dot: it separates the parts of what is signed."""


class Signer:
    """Signs with each of the secrets it has, the receiver's current one first.

    Each is `whsec_` and base64, for `v1`, or `whsk_` and the base64 of a seed of 32 bytes (or of seed and public key,
    64), for `v1a`.
    """

    def __init__(self, *keys: str) -> None:
        self._signers: Sequence[Callable[[bytes], str]] = [_signing_with(key) for key in keys]

    def headers(self, webhook_id: str, body: bytes, *, now: datetime) -> dict[str, str]:
        """The headers of one attempt, sent at `now`. Raises ValueError for an id that `safe_id` would change."""
        if not PLAIN_ID.fullmatch(webhook_id):
            raise ValueError(f"{webhook_id!r} cannot be a webhook-id")
        timestamp = str(int(now.timestamp()))
        return {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": self.sign(webhook_id, timestamp, body),
        }

    def sign(self, webhook_id: str, timestamp: str, body: bytes) -> str:
        """For each secret its version and the base64 signature of `id.timestamp.body`, separated by spaces."""
        signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
        return " ".join(sign(signed) for sign in self._signers)


def safe_id(job_id: str) -> str:
    """The `webhook-id` of a job: its id, or a digest of it if that holds other characters than `A-Za-z0-9_-`.

    A producer may choose any id. A dot in it would let what is signed be cut in two ways, and a line break or a letter
    beyond ASCII cannot stand in a header.
    """
    if PLAIN_ID.fullmatch(job_id):
        return job_id
    return f"id_{hashlib.sha256(job_id.encode(errors='replace')).hexdigest()}"


def public_key(signing_key: str) -> str:
    """`whpk_` and the base64 of the public key that belongs to a `whsk_`."""
    return PUBLIC_PREFIX + _base64(_ed25519(signing_key).public_key().public_bytes_raw())


def new_signing_key() -> str:
    """`whsk_` and the base64 of 32 random bytes."""
    return SIGNING_PREFIX + _base64(secrets.token_bytes(ED25519_SEED_BYTES))


def _signing_with(secret: str) -> Callable[[bytes], str]:
    if secret.startswith(SIGNING_PREFIX):
        private = _ed25519(secret)
        return lambda signed: f"v1a,{_base64(private.sign(signed))}"
    # OpenSSL looks up the algorithm for each new one, which takes as long as to sign
    fresh = hmac.new(base64.b64decode(secret.removeprefix(HMAC_PREFIX)), digestmod=hashlib.sha256)

    def sign(signed: bytes) -> str:
        mac = fresh.copy()
        mac.update(signed)
        return f"v1,{_base64(mac.digest())}"

    return sign


def _ed25519(signing_key: str) -> Ed25519PrivateKey:
    with needs("webhooks"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = base64.b64decode(signing_key.removeprefix(SIGNING_PREFIX))[:ED25519_SEED_BYTES]
    return Ed25519PrivateKey.from_private_bytes(seed)


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()
