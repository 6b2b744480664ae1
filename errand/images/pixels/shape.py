"""The pixels of one output: its region, scaled, on its canvas, with what is done to it."""

from __future__ import annotations

import math
from pathlib import Path

import pyvips

from errand.images.edits import Watermark, bands_of
from errand.images.pixels.colour import in_srgb
from errand.images.pixels.look import turn
from errand.images.pixels.source import Source
from errand.images.plan import Plan, turned
from errand.images.refusal import ImageRefused
from errand.images.size import Size

WHITE = [255, 255, 255]


def shaped(base: pyvips.Image, source: Source, size: Size, planned: Plan) -> pyvips.Image:
    """The output's pixels. `base` is the whole source, at any scale."""
    upright = turn(base, size)
    width, height = turned(size, source.width, source.height)
    image = _scaled(upright, upright.width / width, upright.height / height, planned)
    if size.sharpen:
        image = image.sharpen(sigma=size.sharpen).colourspace("srgb")
    if size.blur:
        image = image.gaussblur(size.blur)
    return _on_canvas(image, size, planned)


def _scaled(base: pyvips.Image, across: float, down: float, planned: Plan) -> pyvips.Image:
    """The region at its size: cut out with the pixels that it shares with its neighbours, scaled, cut exactly."""
    region = planned.region
    left, right = _outwards(region.left * across, (region.left + region.width) * across, base.width)
    top, bottom = _outwards(region.top * down, (region.top + region.height) * down, base.height)
    enlarged = planned.width / (region.width * across), planned.height / (region.height * down)
    width = max(planned.width, round((right - left) * enlarged[0]))
    height = max(planned.height, round((bottom - top) * enlarged[1]))
    image = base.crop(left, top, right - left, bottom - top)
    # of what is cut out of the image a pixel at the edge may go; the whole image would end a pixel too early
    room = 0 if (image.width, image.height) == (base.width, base.height) else 1
    if abs(width - image.width) > room or abs(height - image.height) > room or not _holds(image, planned):
        image = image.thumbnail_image(width, height=height, size="force")
    if (image.width, image.height) == (planned.width, planned.height):
        return image
    return image.crop(
        min(round((region.left * across - left) * enlarged[0]), image.width - planned.width),
        min(round((region.top * down - top) * enlarged[1]), image.height - planned.height),
        planned.width,
        planned.height,
    )


def _holds(image: pyvips.Image, planned: Plan) -> bool:
    return bool(image.width >= planned.width and image.height >= planned.height)


def _outwards(start: float, end: float, length: int) -> tuple[int, int]:
    """The whole pixels that hold this stretch; what is off by a rounding error is on the line."""
    first = min(max(0, math.floor(start + 1e-6)), length - 1)
    return first, min(length, max(first + 1, math.ceil(end - 1e-6)))


def _on_canvas(image: pyvips.Image, size: Size, planned: Plan) -> pyvips.Image:
    """Pads the image to the canvas with the background: white, or transparent if the image has alpha."""
    background = bands_of(size.background) if size.background else [*WHITE, 0]
    if len(background) == 4 and background[3] < 255 and size.background and not image.hasalpha():
        image = image.addalpha()
    if (image.width, image.height) != (planned.canvas_width, planned.canvas_height):
        colour = ([*background, 255] if len(background) == 3 else background)[: 4 if image.hasalpha() else 3]
        options = {"extend": "background", "background": colour}
        image = image.embed(planned.left, planned.top, planned.canvas_width, planned.canvas_height, **options)
    if size.background and image.hasalpha() and len(background) == 3:
        image = image.flatten(background=background)
    return image


def without_alpha(image: pyvips.Image, size: Size) -> pyvips.Image:
    """For a format that has no transparency."""
    colour = bands_of(size.background)[:3] if size.background else WHITE
    return image.flatten(background=colour) if image.hasalpha() else image


def marked(image: pyvips.Image, mark: Watermark, path: Path) -> pyvips.Image:
    """The image with the watermark over it. Raises ImageRefused if that is no image."""
    width = max(1, round(image.width * mark.width))
    try:
        over = pyvips.Image.thumbnail(str(path), width, height=image.height, fail_on="error", output_profile="srgb")
        over = in_srgb(over).copy_memory()
    except pyvips.Error:
        raise ImageRefused(f"the watermark {mark.key} is not an image that can be read") from None
    over = over if over.hasalpha() else over.addalpha()
    over = (over * [1, 1, 1, mark.opacity]).cast("uchar").copy(interpretation="srgb")
    margin = round(image.width * mark.margin)
    left, top = mark.position(max(image.width - over.width, 0), max(image.height - over.height, 0), margin)
    laid = image.composite2(over, "over", x=left, y=top).cast("uchar")
    return laid if image.hasalpha() else laid.extract_band(0, n=3)
