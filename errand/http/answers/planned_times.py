"""Writes the planned attempts of a new job at little cost: a 202 should not wait for the computation of ten times.

Jobs of one type that are due in the same second have the same plan except for the milliseconds. The plan of a second is
written once, with a mark that each job replaces by its milliseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from pydantic_core import to_json

from errand.wire.limits import LATEST_MS, shown_ms

FRACTION = b"~"
"""Marks where the fraction of the second belongs; the text of a time never contains it."""


NO_PLAN = b'"planned_attempts":[],"gives_up_at":null'


def plan_as_json(first_ms: int, offsets_ms: tuple[int, ...]) -> bytes:
    """`"planned_attempts":[…],"gives_up_at":…` of a job due at `first_ms`, with times as Pydantic writes them."""
    second, ms = divmod(first_ms, 1000)
    template = _in_second(second, offsets_ms)
    if template is None:
        return _written([_utc(first_ms + offset) for offset in offsets_ms])
    return template.replace(FRACTION, b".%03d000Z" % ms if ms else b"Z")


def time_as_json(at_ms: int) -> bytes:
    """The time, as Pydantic writes it."""
    second, ms = divmod(at_ms if 0 <= at_ms < LATEST_MS else shown_ms(at_ms), 1000)
    return b'"%b%b"' % (_second(second), b".%03d000Z" % ms if ms else b"Z")


@lru_cache(maxsize=256)
def _second(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


@lru_cache(maxsize=256)
def _in_second(second: int, offsets_ms: tuple[int, ...]) -> bytes | None:
    """The plan with marks for its milliseconds; None if its times do not all have the same milliseconds."""
    if any(offset % 1000 for offset in offsets_ms) or second * 1000 + offsets_ms[-1] >= LATEST_MS:
        return None
    seconds = [datetime.fromtimestamp(second + offset // 1000, UTC) for offset in offsets_ms]
    return _written([f"{at:%Y-%m-%dT%H:%M:%S}{FRACTION.decode()}" for at in seconds])


def _utc(at_ms: int) -> str:
    at = datetime.fromtimestamp(min(at_ms, LATEST_MS) / 1000, UTC)
    return at.isoformat().replace("+00:00", "Z")


def _written(times: list[str]) -> bytes:
    return b'"planned_attempts":%b,"gives_up_at":"%b"' % (to_json(times), times[-1].encode())
