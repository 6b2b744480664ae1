"""The geometry of a resize: plain numbers, no pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from errand.images.size import Size


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the upright source, in its pixels and fractions of them."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Cut the region out, scale it to `width` x `height`, then pad it to the canvas, centred. Pixels.

    The cut comes first: of a long strip that covers a square, what is left over would be huge.
    """

    region: Region
    width: int
    height: int
    canvas_width: int
    canvas_height: int

    @property
    def scale(self) -> float:
        """How much larger than its region the output is, on the side where that is more."""
        return max(self.width / self.region.width, self.height / self.region.height)

    @property
    def pixels(self) -> int:
        """Those of the output."""
        return self.canvas_width * self.canvas_height


def plan(size: Size, *, width: int, height: int) -> Plan:
    """How an image of `width` x `height` (orientation applied) becomes that size."""
    whole = Region(0, 0, width, height)
    if size.width is None or size.height is None:
        # with one side given the other follows from the shape, for every fit
        return _shaped(size, whole, min)
    match size.fit:
        case "inside":
            return _shaped(size, whole, min)
        case "outside":
            return _shaped(size, whole, max)
        case "contain":
            inside = _shaped(size, whole, min)
            return Plan(whole, inside.width, inside.height, size.width, size.height)
        case "fill":
            return _filled(size, whole)
        case "cover":
            return _covering(size, whole)


def _shaped(size: Size, region: Region, choose: Callable[[float, float], float]) -> Plan:
    across, down = (size.width or 0) / region.width, (size.height or 0) / region.height
    scale = choose(across, down) if size.width and size.height else across or down
    scale = scale if size.enlarges else min(scale, 1.0)
    # the side that decides the scale is taken as it was asked for: rounding could miss it by a pixel
    width = size.width if size.width and scale == across else _side(region.width, scale)
    height = size.height if size.height and scale == down else _side(region.height, scale)
    return Plan(region, width, height, width, height)


def _filled(size: Size, region: Region) -> Plan:
    width, height = size.width or 1, size.height or 1
    if not size.enlarges:
        width, height = min(width, int(region.width)), min(height, int(region.height))
    return Plan(region, width, height, width, height)


def _covering(size: Size, region: Region) -> Plan:
    width, height = size.width or 1, size.height or 1
    scale = max(width / region.width, height / region.height)
    cut = _cut(region, width / scale, height / scale)
    if not size.enlarges and scale > 1:
        width, height = _side(width, 1 / scale), _side(height, 1 / scale)
    return Plan(cut, width, height, width, height)


def _cut(region: Region, width: float, height: float) -> Region:
    """The middle of the region, that large."""
    left = region.left + (region.width - width) / 2
    top = region.top + (region.height - height) / 2
    return Region(left, top, width, height)


def _side(length: float, scale: float) -> int:
    return max(1, round(length * scale))
