"""Where OpenTelemetry's context looks for that of the attempt that runs: plain types, nothing of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any


class OfAttempt:
    """The attempts of this process, if a worker runs in it."""

    under_way: ContextVar[Any] = ContextVar("none")
    """Has a value if one is under way here."""
    context: Callable[[], Any] = staticmethod(lambda: None)
    """Gives OpenTelemetry's context of that one if it is in a trace which is not sampled."""
