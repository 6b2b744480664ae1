"""The keys that clients of the API show: what is kept of each, and what it may do."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

Scope = Literal["read", "write", "admin"]


ALL_SCOPES: frozenset[Scope] = frozenset({"read", "write", "admin"})


HASHED_KEY = "sha256:"


SHORTEST_KEY_CHARS = 16


NAME = re.compile(r"[A-Za-z0-9._-]{0,64}")


class ApiKey(BaseModel):
    """One credential, known by its SHA-256 alone, and what it may do."""

    model_config = ConfigDict(frozen=True)

    # hidden as well: from the hash of a weak key the key can be guessed
    digest: bytes = Field(min_length=32, max_length=32, repr=False)
    scopes: frozenset[Scope] = ALL_SCOPES
    name: str = Field("", pattern=NAME.pattern)
    """Whose it is; empty if that was not said. Several keys may share a name, while one takes the place of another."""
    expires_at: datetime | None = None

    @property
    def client(self) -> str:
        """Whom the rate limit counts: by the name, else by the hash. It reveals nothing of the key."""
        return f"name:{self.name}" if self.name else self.digest.hex()

    @property
    def shown_as(self) -> str:
        """In the log: the name, else the beginning of the hash."""
        return self.name or HASHED_KEY + self.digest.hex()[:8]

    def has_expired(self) -> bool:
        return self.expires_at is not None and datetime.now(UTC) >= self.expires_at

    @classmethod
    def parse(cls, text: str) -> Self:
        """`KEY` or, so that no secret stands in the environment, `sha256:HEX`; with `:read+write` for fewer scopes.

        `NAME=` in front says whose it is, `;expires=2027-01-31` or `…T12:00:00Z` behind until when it is valid (UTC).

        Raises ValueError for a key under 16 characters (too short to be secret), an unknown scope or no time.
        """
        text, _, expires = text.partition(";expires=")
        name, found, rest = text.partition("=")
        if found and NAME.fullmatch(name) and len(rest) >= SHORTEST_KEY_CHARS:
            return cls._of(rest, name=name, expires_at=_time_in(expires))
        return cls._of(text, name="", expires_at=_time_in(expires))

    @classmethod
    def _of(cls, text: str, *, name: str, expires_at: datetime | None) -> Self:
        hashed = text.startswith(HASHED_KEY)
        key, colon, scopes = text.removeprefix(HASHED_KEY).partition(":")
        scopes_given = frozenset(scopes.split("+")) if colon else ALL_SCOPES
        digest = _digest_in(key) if hashed else digest_of(_checked_key(key))
        if not scopes_given <= ALL_SCOPES:
            # not quoted: it may be the second half of a key that has a colon in it
            raise ValueError("what follows a key's colon must be scopes joined by '+': read, write, admin")
        return cls(digest=digest, scopes=scopes_given, name=name, expires_at=expires_at)


def digest_of(key: str) -> bytes:
    """What is kept of a key. A fast hash is right: keys are random, not passwords that people choose."""
    return sha256(key.encode()).digest()


def _checked_key(key: str) -> str:
    if len(key) < SHORTEST_KEY_CHARS:
        raise ValueError("a key needs at least 16 characters")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("a key may hold printable ASCII characters only: it travels in a header")
    return key


def _time_in(text: str) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("what follows ';expires=' must be a date or a time, such as 2027-01-31") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _digest_in(text: str) -> bytes:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise ValueError("'sha256:' must be followed by the 64 hexadecimal digits that 'make key' prints")
    return bytes.fromhex(text)
