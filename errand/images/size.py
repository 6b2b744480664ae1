"""What a size asks for: one output of a resize."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Format = Literal["jpeg", "png", "webp", "avif", "gif", "tiff"]


Fit = Literal["inside", "cover", "fill", "contain", "outside"]


class Size(BaseModel):
    """One output. With width or height alone the other follows from the image's shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int | None = Field(default=None, ge=1, le=10_000, description="pixels")
    height: int | None = Field(default=None, ge=1, le=10_000, description="pixels")
    fit: Fit = Field(
        default="inside",
        description="inside: within the box, shape kept; cover: fills the box, cut at the edges; "
        "fill: stretched to the box; contain: within the box, the rest padded; outside: covers the box, not cut",
    )
    format: Format | None = Field(default=None, description="the source's own if not given")
    quality: int | None = Field(
        default=None, ge=1, le=100, description="for jpeg, webp and avif; 80, 79 and 63 by default"
    )

    @model_validator(mode="after")
    def _has_a_side(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("a size needs width, height or both")
        return self
