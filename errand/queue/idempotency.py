"""What the first request under a key was answered, kept so that the same request is never acted on twice.

The answer is written by the script call that puts the jobs: there is no moment at which one of them exists without
the other, whichever process dies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self


class KeyReused(Exception):
    """The key was used for another request."""


class RequestInFlight(Exception):
    """The first request under the key has not come in whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """A key, and the request that came with it."""

    key: str
    """Names the key within the queue: the sender and the route must be part of it."""
    fingerprint: str
    """Distinguishes requests; without spaces."""
    ttl_s: float
    memo: str = ""
    """What else the caller needs to give the same answer again; kept with it."""

    def mark(self, *, at: int, enqueued_at_ms: int, job_ids: Sequence[str]) -> Mapping[str, Any]:
        """The script's condition: KEYS[at] keeps the record, with when the jobs are due put in front of it."""
        record = f"{self.fingerprint} {enqueued_at_ms} {' '.join(job_ids)}\n{self.memo}"
        return {"at": at, "record": record, "keep_ms": int(self.ttl_s * 1000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """What was kept. Times are ms since the epoch."""

    fingerprint: str
    enqueued_at_ms: int
    due_ms: int
    deferred: bool
    """The jobs were not due at once."""
    job_ids: list[str]
    memo: str

    @classmethod
    def parse(cls, kept: bytes) -> Self:
        """From `due fingerprint enqueued_at id …`, a line that the script keeps; all after it is the memo.

        `due` is negative if the jobs were due later.
        """
        line, _, memo = kept.decode().partition("\n")
        due, fingerprint, enqueued_at_ms, *job_ids = line.split(" ")
        due_ms = int(due)
        return cls(
            fingerprint=fingerprint,
            enqueued_at_ms=int(enqueued_at_ms),
            due_ms=abs(due_ms),
            deferred=due_ms < 0,
            job_ids=job_ids,
            memo=memo,
        )

    def given_to(self, fingerprint: str) -> Self:
        """Raises KeyReused if it was another request's."""
        if fingerprint != self.fingerprint:
            raise KeyReused
        return self
