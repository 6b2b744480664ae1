"""Reads `Retry-After`."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from errand.webhooks.schedule import RETRY_AFTER_CAP_S


def retry_after_s(value: str, *, now: datetime) -> float:
    """The wait that `Retry-After` asks for (RFC 9110 §10.2.3: seconds or a date), a day at most; 0 if it asks for none.

    It may only lengthen the schedule's wait: a receiver that answers `Retry-After: 1` for a minute would else have used
    up the tries of three days.
    """
    value = value.strip()
    if not value:
        return 0.0
    if value.isascii() and value.isdigit():
        asked_s = float(value[:12])
    else:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return 0.0
        asked_s = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(asked_s, 0.0), RETRY_AFTER_CAP_S)
