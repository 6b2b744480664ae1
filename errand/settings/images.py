"""The settings of images: what may be read, what outputs may cost, how thoroughly they are compressed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ImageSettings(BaseModel):
    """A part of `Settings`."""

    image_source_megapixels: float = Field(250, gt=0, le=100_000)
    image_output_megapixels: float = Field(200, gt=0, le=100_000)
    image_cpu_s: float = Field(10, gt=0, le=240)
    avif_effort: int = Field(1, ge=0, le=9)
    image_presets: dict[str, dict[str, Any]] = {}
