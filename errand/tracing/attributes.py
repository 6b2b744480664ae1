"""What is said of a span when it begins: plain types, nothing of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Kind = Literal["internal", "client"]
"""A part of an attempt, or what it asks of another program."""

Attributes = Mapping[str, str | int | float | bool]
