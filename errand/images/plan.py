"""The geometry of a resize: plain numbers, no pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from errand.images.edits import SHARES
from errand.images.refusal import ImageRefused

if TYPE_CHECKING:
    from errand.images.size import Size


Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the upright source, in its pixels and fractions of them."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Cut the region out, scale it to `width` x `height`, then pad it to the canvas. Pixels.

    The cut comes first: of a long strip that covers a square, what is left over would be huge.
    """

    region: Region
    width: int
    height: int
    canvas_width: int
    canvas_height: int
    left: int = 0
    top: int = 0
    """Where it lies on the canvas."""

    @property
    def scales(self) -> tuple[float, float]:
        """How much larger than its region the output is: across and down."""
        return self.width / self.region.width, self.height / self.region.height

    @property
    def pixels(self) -> int:
        """Those of the output."""
        return self.canvas_width * self.canvas_height


def turned(size: Size, width: Number, height: Number) -> tuple[Number, Number]:
    """What is across and what is down after the size's own rotation; or before it, if it is given as it is after."""
    return (height, width) if size.rotate in (90, 270) else (width, height)


def plan(
    size: Size, *, width: int, height: int, kept: Region | None = None, focus: tuple[float, float] | None = None
) -> Plan:
    """How an image of `width` x `height` (orientation applied) becomes that size.

    `kept` is the part that is left after a trim, and `focus` where the interest lies, as shares of what is kept; both
    are found in the pixels. Raises ImageRefused if the crop is outside of the image.
    """
    region = _cropped(size, *turned(size, width, height), kept)
    if size.width is None and size.height is None:
        return Plan(region, *(2 * (_side(region.width, 1), _side(region.height, 1))))
    if size.width is None or size.height is None:
        # with one side given the other follows from the shape, for every fit
        return _shaped(size, region, min)
    match size.fit:
        case "inside":
            return _shaped(size, region, min)
        case "outside":
            return _shaped(size, region, max)
        case "contain":
            return _padded(size, _shaped(size, region, min))
        case "fill":
            return _filled(size, region)
        case "cover":
            return _covering(size, region, focus)


def _cropped(size: Size, width: int, height: int, kept: Region | None) -> Region:
    if size.crop is None:
        return kept or Region(0, 0, width, height)
    crop = size.crop
    right, bottom = min(crop.left + crop.width, width), min(crop.top + crop.height, height)
    if right <= crop.left or bottom <= crop.top:
        raise ImageRefused(f"the crop begins at {crop.left}, {crop.top}, outside of the image of {width} x {height}")
    return Region(crop.left, crop.top, right - crop.left, bottom - crop.top)


def _shaped(size: Size, region: Region, choose: Callable[[float, float], float]) -> Plan:
    across, down = (size.width or 0) / region.width, (size.height or 0) / region.height
    scale = choose(across, down) if size.width and size.height else across or down
    scale = scale if size.enlarges else min(scale, 1.0)
    # the side that decides the scale is taken as it was asked for: rounding could miss it by a pixel
    width = size.width if size.width and scale == across else _side(region.width, scale)
    height = size.height if size.height and scale == down else _side(region.height, scale)
    return Plan(region, width, height, width, height)


def _padded(size: Size, inside: Plan) -> Plan:
    width, height = size.width or 1, size.height or 1
    across, down = SHARES.get(size.gravity, (0.5, 0.5))
    left, top = round((width - inside.width) * across), round((height - inside.height) * down)
    return replace(inside, canvas_width=width, canvas_height=height, left=left, top=top)


def _filled(size: Size, region: Region) -> Plan:
    width, height = size.width or 1, size.height or 1
    if not size.enlarges:
        width, height = min(width, _side(region.width, 1)), min(height, _side(region.height, 1))
    return Plan(region, width, height, width, height)


def _covering(size: Size, region: Region, focus: tuple[float, float] | None) -> Plan:
    width, height = size.width or 1, size.height or 1
    scale = max(width / region.width, height / region.height)
    if size.focus is not None:
        focus = (size.focus.x, size.focus.y)
    cut = _cut(region, width / scale, height / scale, SHARES.get(size.gravity, (0.5, 0.5)), focus)
    if not size.enlarges and scale > 1:
        width, height = _side(width, 1 / scale), _side(height, 1 / scale)
    return Plan(cut, width, height, width, height)


def _cut(
    region: Region, width: float, height: float, shares: tuple[float, float], focus: tuple[float, float] | None
) -> Region:
    """A part of the region, that large: by the shares of what is left over, or around a point as far as it goes."""
    room_x, room_y = region.width - width, region.height - height
    left, top = room_x * shares[0], room_y * shares[1]
    if focus is not None:
        left = min(max(focus[0] * region.width - width / 2, 0), room_x)
        top = min(max(focus[1] * region.height - height / 2, 0), room_y)
    return Region(region.left + left, region.top + top, width, height)


def _side(length: float, scale: float) -> int:
    return max(1, round(length * scale))
