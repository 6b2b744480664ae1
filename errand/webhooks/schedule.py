"""When a delivery is tried, and how long an attempt may take: what Standard Webhooks 1.0 recommends."""

from __future__ import annotations

DEADLINE_S = 20
"""For the name, the connection, the request and the status line of one attempt."""
MINUTE_S, HOUR_S = 60, 3600
SCHEDULE_S = (5, 5 * MINUTE_S, 30 * MINUTE_S, *(hours * HOUR_S for hours in (2, 5, 10, 14, 20, 24)))
"""Waits after each failed attempt."""
RETRY_AFTER_CAP_S = 24 * HOUR_S
"""The longest wait that a receiver may ask for."""
