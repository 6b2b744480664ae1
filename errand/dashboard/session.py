"""Keeps people signed in: a cookie that names a key, signed by the service, with an end.

The cookie never holds the key. What signs it is a secret in Redis, the same for all API processes: the hashes of the
keys would not do, for they may stand in an environment that others can read. A key that has been removed from
`API_KEYS`, or has expired, ends the sessions that were opened with it.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from redis.asyncio import Redis

from errand.settings import ApiKey
from errand.wire import keys

COOKIE = "errand_session"

VERSION = "1"

KEY_CHARS = 16
"""So many digits of a key's hash find it again; the signature covers all of them."""

SECRET_BYTES = 32

ENDS = re.compile("[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Session:
    """One that has been checked."""

    key: ApiKey
    id: str
    ends_at_s: int
    """In seconds since the epoch."""


async def opened(redis: Redis, key: ApiKey, *, for_s: int) -> str:
    """The value of the cookie of a new session, which ends after so many seconds, or with the key."""
    ends_at_s = int(time.time()) + for_s
    if key.expires_at is not None:
        ends_at_s = min(ends_at_s, int(key.expires_at.timestamp()))
    session_id = secrets.token_urlsafe(12)
    signature = _signature(await _secret(redis), key, session_id, ends_at_s)
    return ".".join((VERSION, key.digest.hex()[:KEY_CHARS], str(ends_at_s), session_id, signature))


async def read(redis: Redis, cookie: str, api_keys: Iterable[ApiKey]) -> Session | None:
    """The session of that cookie; None if it is none of ours, has ended, or was signed out."""
    version, *parts = cookie.split(".")
    if version != VERSION or len(parts) != 4 or not ENDS.fullmatch(parts[1]):
        return None
    key_start, ends_text, session_id, signature = parts
    key = next((key for key in api_keys if key.digest.hex().startswith(key_start)), None)
    ends_at_s = int(ends_text)
    if key is None or len(key_start) != KEY_CHARS or key.has_expired() or ends_at_s <= time.time():
        return None
    secret, signed_out = await redis.mget(keys.DASHBOARD_SECRET, keys.signed_out(session_id[:64]))
    if secret is None or signed_out is not None:
        return None
    right = _signature(secret, key, session_id, ends_at_s)
    # as bytes: a text beyond ASCII cannot be compared
    same = hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace"))
    return Session(key, session_id, ends_at_s) if same else None


async def close(redis: Redis, session: Session) -> None:
    """Ends a session for good, for a copy of its cookie too."""
    left_s = max(session.ends_at_s - int(time.time()), 1)
    await redis.set(keys.signed_out(session.id), b"1", ex=left_s)


async def _secret(redis: Redis) -> bytes:
    """What signs all sessions; made once."""
    made = secrets.token_bytes(SECRET_BYTES)
    kept: bytes | None = await redis.set(keys.DASHBOARD_SECRET, made, nx=True, get=True)
    return made if kept is None else kept


def _signature(secret: bytes, key: ApiKey, session_id: str, ends_at_s: int) -> str:
    signed = f"{VERSION}.{key.digest.hex()}.{ends_at_s}.{session_id}"
    return hmac.new(secret, signed.encode(), "sha256").hexdigest()
