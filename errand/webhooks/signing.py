"""Signs deliveries: Standard Webhooks 1.0, the symmetric scheme `v1`."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from datetime import datetime
from pathlib import Path

from errand.settings import Settings

SECRET_BYTES = 32
"""Standard Webhooks asks for 24 to 64."""


class Signer:
    """Signs with one secret, `whsec_` and base64."""

    def __init__(self, secret: str) -> None:
        self._key = base64.b64decode(secret.removeprefix("whsec_"))

    @classmethod
    def from_settings(cls, settings: Settings) -> Signer:
        """`WEBHOOK_SECRET`. If it is unset: a secret that is made once and kept in `DATA_DIR`/webhook_secret."""
        if settings.webhook_secret is not None:
            return cls(settings.webhook_secret.get_secret_value())
        return cls(kept_secret(settings.data_dir / "webhook_secret"))

    def headers(self, webhook_id: str, body: bytes, *, now: datetime) -> dict[str, str]:
        """The headers of one attempt, sent at `now`."""
        timestamp = str(int(now.timestamp()))
        return {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": self.sign(webhook_id, timestamp, body),
        }

    def sign(self, webhook_id: str, timestamp: str, body: bytes) -> str:
        """`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`."""
        signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
        return f"v1,{base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()}"


def kept_secret(path: Path) -> str:
    """The secret in that file, which only its owner can read. A missing file is made, once for all workers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}\n")
        with contextlib.suppress(FileExistsError):  # another worker was first: its secret counts
            os.link(fresh, path)
        fresh.unlink()
    return path.read_text().strip()
