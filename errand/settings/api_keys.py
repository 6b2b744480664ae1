"""The keys that clients of the API show: what is kept of each, and what it may do."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Scope = Literal["read", "write", "admin"]


ALL_SCOPES: frozenset[Scope] = frozenset({"read", "write", "admin"})


HASHED_KEY = "sha256:"


SHORTEST_KEY_CHARS = 16


class ApiKey(BaseModel):
    """One credential, known by its SHA-256 alone, and what it may do."""

    model_config = ConfigDict(frozen=True)

    # hidden as well: from the hash of a weak key the key can be guessed
    digest: bytes = Field(min_length=32, max_length=32, repr=False)
    scopes: frozenset[Scope] = ALL_SCOPES

    @property
    def name(self) -> str:
        """Distinguishes it from other keys, and reveals nothing of it."""
        return self.digest.hex()

    @classmethod
    def parse(cls, text: str) -> Self:
        """`KEY` or, so that no secret stands in the environment, `sha256:HEX`; with `:read+write` for fewer scopes.

        Raises ValueError for a key under 16 characters (too short to be secret) or an unknown scope.
        """
        hashed = text.startswith(HASHED_KEY)
        key, colon, scopes = text.removeprefix(HASHED_KEY).partition(":")
        scopes_given = frozenset(scopes.split("+")) if colon else ALL_SCOPES
        digest = _digest_in(key) if hashed else digest_of(_checked_key(key))
        if not scopes_given <= ALL_SCOPES:
            # not quoted: it may be the second half of a key that has a colon in it
            raise ValueError("what follows a key's colon must be scopes joined by '+': read, write, admin")
        return cls(digest=digest, scopes=scopes_given)


def digest_of(key: str) -> bytes:
    """What is kept of a key. A fast hash is right: keys are random, not passwords that people choose."""
    return sha256(key.encode()).digest()


def _checked_key(key: str) -> str:
    if len(key) < SHORTEST_KEY_CHARS:
        raise ValueError("a key needs at least 16 characters")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("a key may hold printable ASCII characters only: it travels in a header")
    return key


def _digest_in(text: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError("'sha256:' must be followed by the 64 hexadecimal digits that 'make key' prints")
    return bytes.fromhex(text)
