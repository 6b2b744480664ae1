"""The secrets that deliveries are signed with: the installation's own, and one for each receiver that follows from it.

Two receivers that share a secret can forge deliveries to each other. So each URL has a secret of its own, derived from
the installation's, which no receiver has to know.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from errand import private_folder
from errand.settings import Settings
from errand.webhooks.signing import HMAC_PREFIX

SECRET_BYTES = 32
"""Standard Webhooks asks for 24 to 64."""


LEAST_CHARS = len(HMAC_PREFIX) + 32
"""The base64 of 24 bytes."""


PURPOSE = b"errand webhook receiver\n"
"""What a secret is derived for stands before the URL, so that no other use of the secret can give the same bytes."""


def installation_secret(settings: Settings) -> str:
    """`WEBHOOK_SECRET`. If it is unset: a secret that is made once and kept in `DATA_DIR`/webhook_secret."""
    if settings.webhook_secret is not None:
        return settings.webhook_secret.get_secret_value()
    return kept_secret(settings.data_dir / "webhook_secret")


def secret_of_url(installation: str, url: str) -> str:
    """The secret of the receiver at that URL: HMAC-SHA256 of the URL, as it stands in the job, under `installation`."""
    key = base64.b64decode(installation.removeprefix(HMAC_PREFIX))
    return _written(hmac.digest(key, PURPOSE + url.encode(), hashlib.sha256))


def new_secret() -> str:
    """`whsec_` and the base64 of 32 random bytes."""
    return _written(secrets.token_bytes(SECRET_BYTES))


def kept_secret(path: Path) -> str:
    """The secret in that file, which only its owner can read. A missing file is made, once for all workers.

    Raises ValueError if it holds none: of an empty one everybody would know what it signs.
    """
    private_folder.make(path.parent)
    if not path.exists():
        _make(path)
    secret = path.read_text().strip()
    if not secret.startswith(HMAC_PREFIX) or len(secret) < LEAST_CHARS:
        raise ValueError(f"{path} holds no secret: bring it back, or delete it to have another one made")
    return secret


def _make(path: Path) -> None:
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    with fresh.open("w") as file:
        file.write(f"{new_secret()}\n")
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the name, and nothing in it
    with contextlib.suppress(FileExistsError):  # another worker was first: its secret counts
        os.link(fresh, path)
    fresh.unlink()


def _written(key: bytes) -> str:
    return HMAC_PREFIX + base64.b64encode(key).decode()
