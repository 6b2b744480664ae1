"""Makes an API key and its hash: `python -m service.new_key [SCOPES]`, or `make key SCOPES=read+write`."""

from __future__ import annotations

import argparse
import secrets

from errand.settings import HASHED_KEY, ApiKey, digest_of

PREFIX = "errand_"
"""So that a key is known for one where it does not belong: in a log, a ticket, a repository."""


KEY_BYTES = 32


def main() -> None:
    """Prints a key for its owner and the entry for `API_KEYS` that lets it in."""
    key, scopes = new_key(), _asked_scopes()
    print(f"key    {key}")
    print("       give it to whoever calls the API ('Authorization: Bearer KEY'); it is kept nowhere and shown once")
    print(f"entry  {entry_of(key, scopes=scopes)}")
    print("       add it to API_KEYS (entries are separated by commas): it is a hash, not a secret")


def new_key() -> str:
    """A key that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def entry_of(key: str, *, scopes: str = "") -> str:
    """Its entry in `API_KEYS`; `scopes` such as `read+write`, empty for all. Raises ValueError for others."""
    entry = HASHED_KEY + digest_of(key).hex() + (f":{scopes}" if scopes else "")
    ApiKey.parse(entry)
    return entry


def _asked_scopes() -> str:
    parser = argparse.ArgumentParser(prog="make key", description="makes an API key and its hash")
    parser.add_argument("scopes", nargs="?", default="", help="read, write, admin, joined by '+'; none: all")
    scopes: str = parser.parse_args().scopes
    try:
        entry_of("", scopes=scopes)
    except ValueError as error:
        parser.error(str(error))
    return scopes


if __name__ == "__main__":
    main()
