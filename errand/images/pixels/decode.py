"""Decodes a source once, no larger than its outputs need it; or all frames of an animation, as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyvips

from errand.images.options import ImageOptions
from errand.images.pixels.colour import in_srgb, is_srgb
from errand.images.pixels.foreign import decoded
from errand.images.pixels.libvips import clear_errors, faults_noted, is_out_of_memory, reason_of
from errand.images.pixels.source import Source, damage, memory_bytes
from errand.images.refusal import ImageRefused
from errand.images.size import Strictness

FAIL_ON: dict[Strictness, str] = {"strict": "warning", "normal": "error", "lenient": "none"}
"""libvips' own levels. What it notes and goes on after is looked at behind it, unless all is forgiven."""


BASE_BANDS = 4


ROUNDING_ERROR = 1e-6
"""In pixels."""


def decode(
    source: Source,
    scales: tuple[float, float],
    strictness: Strictness,
    options: ImageOptions,
    *,
    keep_profile: bool = False,
) -> pyvips.Image:
    """The image upright, in memory, scaled across and down but never enlarged; in sRGB unless its own colours are kept.

    Raises ImageRefused if it is damaged, or needs more memory than there may be.
    """
    width, height = _scaled(source.width, scales[0]), _scaled(source.height, scales[1])
    _check_memory(memory_bytes(source) + width * height * BASE_BANDS, options)
    converts = not keep_profile and source.profile is not None and not is_srgb(source.profile)
    # in an option string after the path `fail_on` would be ignored (libvips 8.18), so all are arguments
    asked: dict[str, Any] = {"size": "force"}
    if converts:
        asked["output_profile"] = "srgb"
    with _damage_raised(source, strictness, options):
        if source.foreign is not None:
            image = _foreign_pixels(source, max(scales)).thumbnail_image(width, height=height, **asked)
        else:
            # of a JPEG libvips decodes a half, a quarter or an eighth, at least twice as large as it is to be. As small
            # as could be would save a seventh of the time, and no photo shows it; but small text had 24 dB, not 41
            image = pyvips.Image.thumbnail(str(source.path), width, height=height, **asked, fail_on=FAIL_ON[strictness])
        return in_srgb(image).copy_memory()


def _scaled(side: int, scale: float) -> int:
    """To the next pixel, but not for a rounding error: an output would lose a row, and show the rest out of place."""
    return min(side, math.ceil(side * scale - ROUNDING_ERROR))


def _foreign_pixels(source: Source, scale: float) -> pyvips.Image:
    assert source.foreign is not None
    image = decoded(source.foreign, source.kind, scale)
    if source.profile is not None:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", source.profile)
    return image


def decode_frames(source: Source, strictness: Strictness, options: ImageOptions) -> Sequence[pyvips.Image]:
    """All frames of an animation, each as it is to be seen. Raises ImageRefused."""
    _check_memory(source.width * source.height * source.frames * BASE_BANDS * 2, options)
    with _damage_raised(source, strictness, options):
        joined = pyvips.Image.new_from_file(str(source.path), n=-1, fail_on=FAIL_ON[strictness])
        whole = in_srgb(joined).copy_memory()
    height = source.height
    return [whole.crop(0, number * height, whole.width, height) for number in range(whole.height // height)]


@contextmanager
def _damage_raised(source: Source, strictness: Strictness, options: ImageOptions) -> Iterator[None]:
    """Raises ImageRefused for libvips' errors, and for what it has noted only."""
    clear_errors()
    try:
        yield
    except MemoryError:
        raise _too_much_memory(options) from None
    except pyvips.Error as error:
        if is_out_of_memory(error):
            raise _too_much_memory(options) from None
        raise damage(source, reason_of(error)) from None
    if strictness != "lenient" and (fault := faults_noted()):
        raise damage(source, fault)


def _check_memory(needed_bytes: int, options: ImageOptions) -> None:
    if needed_bytes > options.memory_bytes:
        raise _too_much_memory(options)


def _too_much_memory(options: ImageOptions) -> ImageRefused:
    return ImageRefused(f"the image needs more memory than the {options.memory_bytes // 1024**2} MiB there may be")
