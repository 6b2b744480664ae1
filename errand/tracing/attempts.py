"""Where OpenTelemetry's context looks for that of the attempt that runs: plain types, nothing of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OfAttempt:
    """The attempts of this process, if a worker runs in it."""

    context: Callable[[], Any] | None = None
    """Gives OpenTelemetry's context of the one that is under way here, if that is in a trace which is not sampled."""
