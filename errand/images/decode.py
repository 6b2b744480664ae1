"""Decodes a source once, no larger than its outputs need it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyvips

from errand.images.colour import in_srgb, is_srgb
from errand.images.libvips import clear_errors, faults_noted, is_out_of_memory, reason_of
from errand.images.options import ImageOptions
from errand.images.plan import Plan
from errand.images.refusal import ImageRefused
from errand.images.size import Strictness
from errand.images.source import Source, damage, memory_bytes

FAIL_ON: dict[Strictness, str] = {"strict": "warning", "normal": "error", "lenient": "none"}
"""libvips' own levels. What it notes and goes on after is looked at behind it, unless all is forgiven."""


BASE_BANDS = 4


def decode(source: Source, plans: Sequence[Plan], strictness: Strictness, options: ImageOptions) -> pyvips.Image:
    """The image upright, in sRGB, in memory, as large as the largest plan needs it, but never enlarged.

    Raises ImageRefused if it is damaged, or needs more memory than there may be.
    """
    scale = min(1.0, max(planned.scale for planned in plans))
    width, height = math.ceil(source.width * scale), math.ceil(source.height * scale)
    _check_memory(source, width * height, options)
    clear_errors()
    try:
        image = pyvips.Image.thumbnail(
            str(source.path), width, height=height, size="force", **_conversion(source), fail_on=FAIL_ON[strictness]
        )
        base = in_srgb(image).copy_memory()
    except pyvips.Error as error:
        if is_out_of_memory(error):
            raise _too_much_memory(options) from None
        raise damage(source, reason_of(error)) from None
    if strictness != "lenient" and (fault := faults_noted()):
        raise damage(source, fault)
    return base


def _conversion(source: Source) -> dict[str, Any]:
    """In an option string after the path `fail_on` would be ignored (libvips 8.18), so all are arguments."""
    converts = source.profile is not None and not is_srgb(source.profile)
    return {"output_profile": "srgb"} if converts else {}


def _check_memory(source: Source, base_pixels: int, options: ImageOptions) -> None:
    if memory_bytes(source) + base_pixels * BASE_BANDS > options.memory_bytes:
        raise _too_much_memory(options)


def _too_much_memory(options: ImageOptions) -> ImageRefused:
    return ImageRefused(f"the image needs more memory than the {options.memory_bytes // 1024**2} MiB there may be")
