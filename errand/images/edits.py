"""The parts of a size beyond its box: which part of the image is kept, and what is done to it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_SIDE = 10_000


MAX_SOURCE_SIDE = 100_000


def _no_flag(value: Any) -> Any:
    """JSON's `true` is no number, though Python takes it for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Whole = Annotated[int, BeforeValidator(_no_flag)]


Real = Annotated[float, BeforeValidator(_no_flag)]


Pixels = Annotated[Whole, Field(ge=1, le=MAX_SIDE)]


Share = Annotated[Real, Field(ge=0, le=1)]


Gravity = Literal[
    "center",
    "north",
    "northeast",
    "east",
    "southeast",
    "south",
    "southwest",
    "west",
    "northwest",
    "attention",
    "entropy",
]


SHARES: dict[str, tuple[float, float]] = {
    "center": (0.5, 0.5),
    "north": (0.5, 0),
    "northeast": (1, 0),
    "east": (1, 0.5),
    "southeast": (1, 1),
    "south": (0.5, 1),
    "southwest": (0, 1),
    "west": (0, 0.5),
    "northwest": (0, 0),
}
"""How much of what is left over lies to the left, and above."""


GravityName = Annotated[Gravity, BeforeValidator(lambda value: "center" if value == "centre" else value)]


Colour = Annotated[str, Field(pattern=r"^#([0-9a-fA-F]{6}|[0-9a-fA-F]{8})$", examples=["#ffffff", "#00000080"])]


def bands_of(colour: str) -> list[int]:
    """Red, green, blue and, if the colour has it, alpha: 0 to 255."""
    return list(bytes.fromhex(colour.removeprefix("#")))


class Edit(BaseModel):
    """Frozen, and without names that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Focus(Edit):
    """What must stay in the picture, as shares of width and height; 0, 0 is the top left."""

    x: Share
    y: Share


class Crop(Edit):
    """A part of the upright image, in its pixels."""

    left: Whole = Field(ge=0, le=MAX_SOURCE_SIDE)
    top: Whole = Field(ge=0, le=MAX_SOURCE_SIDE)
    width: Whole = Field(ge=1, le=MAX_SOURCE_SIDE)
    height: Whole = Field(ge=1, le=MAX_SOURCE_SIDE)


class Watermark(Edit):
    """An image from storage that is laid over the output."""

    key: str = Field(
        pattern=r"^watermarks/[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
        description="its key in storage, below `watermarks/`, where the operator puts it",
    )
    gravity: GravityName = "southeast"
    opacity: Share = 1
    width: Share = Field(default=0.25, description="its width as a share of the output's")
    margin: Share = Field(default=0.02, description="its distance from the edge as a share of the output's width")

    def position(self, room_x: int, room_y: int, margin: int) -> tuple[int, int]:
        """Where its top left lies, if so much is left over beside it."""
        across, down = SHARES.get(self.gravity, (0.5, 0.5))
        inner_x, inner_y = max(room_x - 2 * margin, 0), max(room_y - 2 * margin, 0)
        return min(room_x, margin) + math.floor(across * inner_x), min(room_y, margin) + math.floor(down * inner_y)
