"""The geometry of a resize: plain numbers, no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from errand.images.size import Fit, Size


@dataclass(frozen=True, slots=True)
class Plan:
    """Scale the whole image to `width` x `height`, then cut or pad it to the canvas, centred. Pixels."""

    width: int
    height: int
    canvas_width: int
    canvas_height: int


def plan(size: Size, *, width: int, height: int) -> Plan:
    """How an image of `width` x `height` (orientation applied) becomes that size."""
    if size.width is None or size.height is None:
        # with one side given the other follows from the shape, for every fit
        scale = size.width / width if size.width is not None else (size.height or height) / height
        whole = (size.width or _side(width, scale), size.height or _side(height, scale))
        return Plan(*whole, *whole)
    box = (size.width, size.height)
    scaled = _scaled(size.fit, box, width=width, height=height)
    return Plan(*scaled, *(scaled if size.fit in ("inside", "outside") else box))


def _scaled(fit: Fit, box: tuple[int, int], *, width: int, height: int) -> tuple[int, int]:
    across, down = box[0] / width, box[1] / height
    if fit == "fill":
        return box
    scale = max(across, down) if fit in ("cover", "outside") else min(across, down)
    # the side that decides the scale is taken as it was asked for: rounding could miss it by a pixel
    return (
        box[0] if scale == across else _side(width, scale),
        box[1] if scale == down else _side(height, scale),
    )


def _side(length: int, scale: float) -> int:
    return max(1, round(length * scale))
