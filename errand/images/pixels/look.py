"""What must be found in the pixels before a size can be planned: uniform edges, and where the interest lies."""

from __future__ import annotations

import pyvips

from errand.images.pixels.source import Source
from errand.images.plan import Region, turned
from errand.images.size import Size

LOOK_PIXELS = 1_024
"""The longer side of what is looked at: an edge is found to a thousandth of it."""


MEDIAN_PIXELS = 3


SMART = ("attention", "entropy")


def needs_look(size: Size) -> bool:
    """True if that size depends on more than the shape of the image."""
    return size.trim is not None or _is_smart(size)


def _is_smart(size: Size) -> bool:
    return size.fit == "cover" and size.gravity in SMART and size.focus is None and bool(size.width and size.height)


def turn(image: pyvips.Image, size: Size) -> pyvips.Image:
    """The image rotated and mirrored as that size asks."""
    if size.rotate:
        image = image.rot(f"d{size.rotate}")
    return image.flip(size.flip) if size.flip else image


def kept_after_trim(view: pyvips.Image, source: Source, size: Size) -> Region | None:
    """The part inside of edges of one colour, in pixels of the source; None if that size trims nothing, or all."""
    if size.trim is None:
        return None
    seen = turn(view, size)
    flat = seen.flatten(background=[255, 255, 255]) if seen.hasalpha() else seen
    # the median of nine pixels, which libvips looks at, has no place in a narrow image
    narrow = min(flat.width, flat.height) < MEDIAN_PIXELS
    left, top, width, height = flat.find_trim(threshold=size.trim, background=flat.getpoint(0, 0), line_art=narrow)
    whole_width, whole_height = turned(size, source.width, source.height)
    across, down = whole_width / seen.width, whole_height / seen.height
    if width == 0 or height == 0:
        return None
    return Region(left * across, top * down, width * across, height * down)


def interest(view: pyvips.Image, source: Source, size: Size, kept: Region | None) -> tuple[float, float] | None:
    """The middle of what libvips finds worth seeing in the box's shape, as shares of the part that is kept."""
    if not _is_smart(size):
        return None
    seen = _part(turn(view, size), source, size, kept)
    scale = max((size.width or 1) / seen.width, (size.height or 1) / seen.height)
    width = max(1, min(round((size.width or 1) / scale), seen.width))
    height = max(1, min(round((size.height or 1) / scale), seen.height))
    cut = seen.smartcrop(width, height, interesting=size.gravity)
    return (width / 2 - cut.xoffset) / seen.width, (height / 2 - cut.yoffset) / seen.height


def _part(seen: pyvips.Image, source: Source, size: Size, kept: Region | None) -> pyvips.Image:
    width, height = turned(size, source.width, source.height)
    region = kept
    if size.crop is not None:
        crop = size.crop
        region = Region(crop.left, crop.top, min(crop.width, width - crop.left), min(crop.height, height - crop.top))
    if region is None or region.width <= 0 or region.height <= 0:
        return seen
    across, down = seen.width / width, seen.height / height
    left, top = min(int(region.left * across), seen.width - 1), min(int(region.top * down), seen.height - 1)
    wide, high = max(1, round(region.width * across)), max(1, round(region.height * down))
    return seen.crop(left, top, min(wide, seen.width - left), min(high, seen.height - top))
