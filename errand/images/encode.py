"""Writes one output: its region, scaled, on its canvas, in its format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from errand.images.formats import Format
from errand.images.libvips import reason_of
from errand.images.options import ImageOptions
from errand.images.plan import Plan
from errand.images.size import Size
from errand.images.source import Source

DEFAULT_QUALITY = {"jpeg": 80, "webp": 79, "avif": 63}
"""imgproxy's."""


SAVE_OPTIONS: dict[Format, dict[str, Any]] = {
    "jpeg": {"optimize_coding": True},
    "png": {},
    "webp": {},
    "avif": {"compression": "av1"},
    "gif": {"effort": 4},  # 7, libvips' own, takes six times as long and saves a tenth
    "tiff": {"compression": "deflate"},
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """One output file."""

    path: Path
    width: int
    height: int
    format: Format


def shape(base: pyvips.Image, source: Source, planned: Plan) -> pyvips.Image:
    """The output's pixels. `base` is the whole source, at any scale."""
    image = _scaled(base, base.width / source.width, base.height / source.height, planned)
    return _on_canvas(image, planned.canvas_width, planned.canvas_height)


def _scaled(base: pyvips.Image, across: float, down: float, planned: Plan) -> pyvips.Image:
    """The region at its size: cut out with the pixels that it shares with its neighbours, scaled, cut exactly."""
    region = planned.region
    left, right = _outwards(region.left * across, (region.left + region.width) * across, base.width)
    top, bottom = _outwards(region.top * down, (region.top + region.height) * down, base.height)
    enlarged = planned.width / (region.width * across), planned.height / (region.height * down)
    width = max(planned.width, round((right - left) * enlarged[0]))
    height = max(planned.height, round((bottom - top) * enlarged[1]))
    image = base.crop(left, top, right - left, bottom - top)
    if abs(width - image.width) > 1 or abs(height - image.height) > 1 or not _holds(image, planned):
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


def _on_canvas(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Pads the image to the canvas, centred; the pad is white, or transparent if the image has alpha."""
    if (image.width, image.height) == (width, height):
        return image
    background = [255, 255, 255, 0] if image.hasalpha() else [255, 255, 255]
    return image.gravity("centre", width, height, extend="background", background=background)


def write(image: pyvips.Image, size: Size, stem: Path, form: Format, options: ImageOptions) -> Rendered:
    """Writes the output beside `stem`. Raises OSError if it cannot be written."""
    if form == "jpeg" and image.hasalpha():
        image = image.flatten(background=[255, 255, 255])
    path = stem.with_name(f"{stem.name}-{image.width}x{image.height}.{form}")
    try:
        image.write_to_file(f"{path}", keep="none", **_save_options(form, size, options))
    except pyvips.Error as error:
        raise OSError(
            f"an output could not be written as {form}: {reason_of(error) or 'no room or no memory'}"
        ) from None
    return Rendered(path=path, width=image.width, height=image.height, format=form)


def _save_options(form: Format, size: Size, options: ImageOptions) -> dict[str, Any]:
    chosen: dict[str, Any] = {"effort": options.avif_effort} if form == "avif" else {}
    if form in DEFAULT_QUALITY:
        chosen["Q"] = size.quality or DEFAULT_QUALITY[form]
    return {**SAVE_OPTIONS[form], **chosen}
