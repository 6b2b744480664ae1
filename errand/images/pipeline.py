"""Decodes, scales and encodes with libvips. Runs in a process of the pool, never beside an event loop.

Limits and defaults follow imgproxy's. An image is decoded once, at the largest size asked for: for JPEG and WebP
libvips then does a fraction of the full work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyvips

from errand.images.plan import Plan, plan

if TYPE_CHECKING:
    from errand.images.size import Format, Size

PIXEL_LIMIT = 50_000_000


READABLE = "JPEG, PNG, WebP, AVIF, GIF, TIFF"


FORMAT_OF_LOADER: dict[str, Format] = {
    "jpegload": "jpeg",
    "pngload": "png",
    "webpload": "webp",
    "heifload": "avif",
    "gifload": "gif",
    "tiffload": "tiff",
}


RGBA_BANDS = 4


DEFAULT_QUALITY = {"jpeg": 80, "webp": 79, "avif": 63}


SAVE_OPTIONS: dict[Format, dict[str, Any]] = {
    "jpeg": {"optimize_coding": True},
    "png": {},
    "webp": {},
    "avif": {"compression": "av1", "effort": 4},
    "gif": {},
    "tiff": {"compression": "deflate"},
}


SIDE_LIMIT: dict[Format, int] = {"jpeg": 65_500, "webp": 16_383, "avif": 16_384, "gif": 65_535}
"""The longest side in pixels that a format, or its encoder, can have."""


ORIENTATIONS_ON_THEIR_SIDE = range(5, 9)
"""EXIF orientation values that swap width and height."""


class ImageRefused(Exception):
    """The bytes are not an image that can be resized; another attempt would not help."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One output file."""

    path: Path
    width: int
    height: int
    format: Format


def render(source: Path, folder: Path, sizes: Sequence[Size]) -> list[Rendered]:
    """Writes one file per size into `folder`, in that order.

    Raises ImageRefused if the source is not a readable image or is cut short, or if it or an output has over
    50 megapixels.
    """
    _limit_libvips()
    try:
        header = pyvips.Image.new_from_file(str(source), access="sequential")
    except pyvips.Error:
        raise ImageRefused(f"not an image that can be read ({READABLE})") from None
    width, height = _oriented_size(header)
    own_format = FORMAT_OF_LOADER.get(header.get("vips-loader").removesuffix("_source"), "jpeg")
    plans = [plan(size, width=width, height=height) for size in sizes]
    formats = [size.format or own_format for size in sizes]
    _check_pixels(width, height, plans)
    _check_sides(plans, formats)
    base = _decode(source, plans, width=width, height=height)
    return [
        _write(base, size, planned, folder / f"{number}", form)
        for number, (size, planned, form) in enumerate(zip(sizes, plans, formats, strict=True), start=1)
    ]


def _limit_libvips() -> None:
    """One thread and no cache: the pool is the parallelism. Only loaders that libvips fuzzes with malformed files."""
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    pyvips.block_untrusted_set(True)


def _oriented_size(header: pyvips.Image) -> tuple[int, int]:
    turned = header.get_typeof("orientation") and header.get("orientation") in ORIENTATIONS_ON_THEIR_SIDE
    return (header.height, header.width) if turned else (header.width, header.height)


def _check_pixels(width: int, height: int, plans: Sequence[Plan]) -> None:
    """Before decoding: a file of a kilobyte can announce any number of pixels."""
    if width * height > PIXEL_LIMIT:
        raise ImageRefused(
            f"the image has {width} x {height} pixels, over the limit of {PIXEL_LIMIT // 10**6} megapixels"
        )
    steps = [(planned.width, planned.height) for planned in plans]
    steps += [(planned.canvas_width, planned.canvas_height) for planned in plans]
    for across, down in steps:
        if across * down > PIXEL_LIMIT:
            raise ImageRefused(
                f"an output of {across} x {down} pixels is over the limit of {PIXEL_LIMIT // 10**6} megapixels"
            )


def _check_sides(plans: Sequence[Plan], formats: Sequence[Format]) -> None:
    for planned, form in zip(plans, formats, strict=True):
        if max(planned.canvas_width, planned.canvas_height) > SIDE_LIMIT.get(form, PIXEL_LIMIT):
            raise ImageRefused(
                f"an output of {planned.canvas_width} x {planned.canvas_height} pixels cannot be {form}, "
                f"whose sides end at {SIDE_LIMIT[form]}"
            )


def _decode(source: Path, plans: Sequence[Plan], *, width: int, height: int) -> pyvips.Image:
    """The image upright, in sRGB, as large as the largest plan needs it, but never enlarged."""
    scale = min(1.0, max(max(planned.width / width, planned.height / height) for planned in plans))
    try:
        image = pyvips.Image.thumbnail(
            str(source),
            math.ceil(width * scale),
            height=math.ceil(height * scale),
            size="force",
            fail_on="truncated",  # in an option string after the path it would be ignored (libvips 8.18)
            output_profile="srgb",
        )
        if image.interpretation != "srgb":
            image = image.colourspace("srgb")
        if image.bands > RGBA_BANDS:
            image = image.extract_band(0, n=RGBA_BANDS)  # a TIFF may have more bands, which are not colours
        return image.copy_memory()
    except pyvips.Error as error:
        reason = str(error.detail or error.message).strip().splitlines()[0]
        raise ImageRefused(f"the image is damaged or cut short: {reason}") from None


def _write(base: pyvips.Image, size: Size, planned: Plan, stem: Path, form: Format) -> Rendered:
    image = base
    if (image.width, image.height) != (planned.width, planned.height):
        image = image.thumbnail_image(planned.width, height=planned.height, size="force")
    if form == "jpeg" and image.hasalpha():
        image = image.flatten(background=[255, 255, 255])
    image = _on_canvas(image, planned.canvas_width, planned.canvas_height)
    path = stem.with_name(f"{stem.name}-{image.width}x{image.height}.{form}")
    image.write_to_file(f"{path}", keep="none", **_save_options(form, size.quality))
    return Rendered(path=path, width=image.width, height=image.height, format=form)


def _on_canvas(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Cuts or pads the image to the canvas, centred; the pad is white, or transparent if the image has alpha."""
    if image.width > width or image.height > height:
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop(max(left, 0), max(top, 0), min(width, image.width), min(height, image.height))
    if (image.width, image.height) == (width, height):
        return image
    background = [255, 255, 255, 0] if image.hasalpha() else [255, 255, 255]
    return image.gravity("centre", width, height, extend="background", background=background)


def _save_options(form: Format, quality: int | None) -> dict[str, Any]:
    if form not in DEFAULT_QUALITY:
        return SAVE_OPTIONS[form]
    return {**SAVE_OPTIONS[form], "Q": quality or DEFAULT_QUALITY[form]}
