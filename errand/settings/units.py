"""Units and bounds that the settings of several parts share."""

from __future__ import annotations

DAY_S = 86_400


MAX_TTL_S = 36_500 * DAY_S
"""Redis' own arithmetic ends beyond it; an outcome is not kept for a century."""


MIB = 1024 * 1024
