"""Signatures that say nothing of the body they came with: each admits one event, however often that is sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from errand.mail.events.email_event import BadSignature
from errand.wire import codec, keys


class SeenSignatures:
    """Those of the last `ttl_s` seconds, in Redis; to be asked only about signatures that are right."""

    def __init__(self, redis: Redis, *, ttl_s: int) -> None:
        self._redis = redis
        self._ttl_s = ttl_s

    async def check(self, signature: str, event: Mapping[str, Any]) -> None:
        """Raises BadSignature if it came with another event before, and redis' errors."""
        digest = hashlib.sha256(codec.dumps(event)).hexdigest()
        name = keys.seen_signature(hashlib.sha256(signature.encode()).hexdigest())
        first = await self._redis.set(name, digest, nx=True, get=True, ex=self._ttl_s)
        if first is not None and first != digest.encode():
            raise BadSignature("the signature has admitted another event before")
