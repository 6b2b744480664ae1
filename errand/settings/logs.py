"""The settings of what processes log."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class LogSettings(BaseModel):
    """A part of `Settings`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
