"""Job ids: UUIDv7, so that ids sort by the time they were made and a queue stays first-in, first-out.

Arq's queue is a sorted set; members due in the same millisecond are ordered by their bytes.
"""

from __future__ import annotations

import secrets
import threading
import time
from itertools import accumulate

_lock = threading.Lock()


_last = 0


RANDOM_BYTES, STEP = 4, 1
"""Of the step from one id to the next within a millisecond, and the least that it is."""


def new_job_id() -> str:
    """A UUIDv7 (RFC 9562 §5.7), greater than every earlier one of this process."""
    with _lock:
        value = _next()
    return _written(value)


def new_job_ids(number: int) -> list[str]:
    """So many of them, in their order.

    Asked for together, their randomness is one call of the system: one by one it was a tenth of what an event for a
    thousand receivers takes.
    """
    global _last
    if number < 1:
        return []
    random = secrets.token_bytes((number - 1) * RANDOM_BYTES)
    with _lock:
        # within one millisecond, or as if they were: to ask for the time for each takes as long as to count on
        values = list(accumulate(map(STEP.__add__, memoryview(random).cast("I")), initial=_next()))
        _last = values[-1]
    return [_written(value) for value in values]


def _next() -> int:
    """The 48 bits of the time and 74 random ones. The lock must be held."""
    global _last
    now_ms = time.time_ns() // 1_000_000
    if now_ms > _last >> 74:
        _last = now_ms << 74 | secrets.randbits(74)
    else:
        # RFC 9562 §6.2, method 2: within one millisecond the random part counts on
        _last += STEP + int.from_bytes(secrets.token_bytes(RANDOM_BYTES))
    return _last


def _written(value: int) -> str:
    unix_ms, random = value >> 74, value & (1 << 74) - 1
    bits = unix_ms << 80 | 0x7 << 76 | random >> 62 << 64 | 0b10 << 62 | random & (1 << 62) - 1
    # by hand: uuid.UUID takes three times as long, and each enqueue waits for it
    digits = bits.to_bytes(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
