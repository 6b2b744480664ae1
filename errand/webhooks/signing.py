"""Signs deliveries as Standard Webhooks 1.0 says: the symmetric scheme `v1`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import datetime

HMAC_PREFIX = "whsec_"


PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""What may be a `webhook-id` as it is. Never a dot: it separates the parts of what is signed."""


class Signer:
    """Signs with each of the secrets it has, the receiver's current one first; each is `whsec_` and base64."""

    def __init__(self, *secrets: str) -> None:
        self._keys: Sequence[bytes] = [base64.b64decode(secret.removeprefix(HMAC_PREFIX)) for secret in secrets]

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
        """For each secret `v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`, separated by spaces."""
        signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
        return " ".join(f"v1,{_base64(hmac.digest(key, signed, hashlib.sha256))}" for key in self._keys)


def safe_id(job_id: str) -> str:
    """The `webhook-id` of a job: its id, or a digest of it if that holds other characters than `A-Za-z0-9_-`.

    A producer may choose any id. A dot in it would let what is signed be cut in two ways, and a line break or a letter
    beyond ASCII cannot stand in a header.
    """
    if PLAIN_ID.fullmatch(job_id):
        return job_id
    return f"id_{hashlib.sha256(job_id.encode(errors='replace')).hexdigest()}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
