"""Signed addresses of files: who holds one may read that file until it expires, without a key of the API."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256

from pydantic import SecretStr


def signature_of(key: str, expires_s: int, secret: SecretStr) -> str:
    """HMAC-SHA256 of the file's key and the moment it expires, in seconds since 1970; base64 for URLs, without `=`.

    The key of a file has no line break, so that the two cannot be cut elsewhere.
    """
    signed = hmac.digest(secret.get_secret_value().encode(), f"{key}\n{expires_s}".encode(), sha256)
    return urlsafe_b64encode(signed).rstrip(b"=").decode()


def image_signature_of(preset: str, source: str, secret: SecretStr) -> str:
    """The same of an image that is made when it is asked for. No file's key and moment read like it."""
    signed = hmac.digest(secret.get_secret_value().encode(), f"image\n{preset}/{source}".encode(), sha256)
    return urlsafe_b64encode(signed).rstrip(b"=").decode()


def is_image_signed(preset: str, source: str, signature: str, secrets: Sequence[SecretStr]) -> bool:
    """True if one of the secrets has signed it."""
    given = signature.encode()
    matches = [hmac.compare_digest(image_signature_of(preset, source, secret).encode(), given) for secret in secrets]
    return any(matches)


def is_signed(key: str, expires_s: int, signature: str, secrets: Sequence[SecretStr]) -> bool:
    """True if one of the secrets has signed it: the first signs, the others are on their way out."""
    given = signature.encode()
    # all are compared, each in constant time: the duration does not reveal which one it was
    matches = [hmac.compare_digest(signature_of(key, expires_s, secret).encode(), given) for secret in secrets]
    return any(matches)
