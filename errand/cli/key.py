"""Makes API keys, so that only a hash of a key has to be stored."""

from __future__ import annotations

import secrets

from errand.settings import HASHED_KEY, ApiKey, digest_of

PREFIX = "errand_"
"""Marks a key as one, so that it is recognised if it leaks: in a log, a ticket, a repository."""

KEY_BYTES = 32


def new_key() -> str:
    """A random key, such as `errand_1zP9…`."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def entry_of(key: str, *, scopes: str = "", name: str = "", expires: str = "") -> str:
    """The entry of a key in `API_KEYS`: `sha256:HEX`, or `NAME=sha256:HEX:read+write;expires=2027-01-31`.

    Raises ValueError for an unknown scope, a name of other than letters, digits, '.', '_' and '-', or no time.
    """
    hashed = HASHED_KEY + digest_of(key).hex() + (f":{scopes}" if scopes else "")
    entry = (f"{name}=" if name else "") + hashed + (f";expires={expires}" if expires else "")
    ApiKey.parse(entry)
    return entry
