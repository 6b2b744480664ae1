"""Colours: every output is in sRGB, and what is in sRGB already is not computed again."""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import pyvips

RGB_BANDS, RGBA_BANDS = 3, 4


LATTICE = tuple(range(0, 256, 51))
"""Six values of a channel: of all their combinations a profile that moves none by more than one step is sRGB."""


@lru_cache(maxsize=64)
def is_srgb(profile: bytes) -> bool:
    """True if this ICC profile, of an RGB image, means the colours that sRGB means, whatever it is called.

    To convert an image from it would take three times as long as to resize it, and change nothing.
    """
    if profile[16:20] != b"RGB ":  # the colour space of its data (ICC.1:2010, section 7.2.6)
        return False
    values = bytes(value for colour in product(LATTICE, repeat=3) for value in colour)
    colours = pyvips.Image.new_from_memory(values, len(LATTICE) ** 3, 1, 3, "uchar").copy(interpretation="srgb")
    colours.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    try:
        moved = colours.icc_transform("srgb", embedded=True).cast("short") - colours
    except pyvips.Error:
        return False  # broken: libvips decides what to make of it
    return bool(moved.abs().max() <= 1)


def in_srgb(image: pyvips.Image) -> pyvips.Image:
    """Three or four bands of a byte each, whatever it was: grey, CMYK, 16 bits, with more bands than colours."""
    if image.interpretation == "multiband":
        image = _guessed(image)
    if image.interpretation != "srgb":
        image = image.colourspace("srgb")
    if image.interpretation != "srgb" or image.bands < RGB_BANDS:
        # it does not say truly what its bands are, and libvips has taken it for what it is to be
        image = _guessed(image).colourspace("srgb")
    if image.bands > RGBA_BANDS:
        image = image.extract_band(0, n=RGBA_BANDS)  # a TIFF may have more bands, which are not colours
    return image if image.format == "uchar" else image.cast("uchar")


def _guessed(image: pyvips.Image) -> pyvips.Image:
    """The first three bands as colours; of fewer the first, as grey."""
    is_wide, has_colours = image.format == "ushort", image.bands >= RGB_BANDS
    known = ("rgb16" if is_wide else "srgb") if has_colours else ("grey16" if is_wide else "b-w")
    return image.extract_band(0, n=RGB_BANDS if has_colours else 1).copy(interpretation=known)


def to_srgb(image: pyvips.Image) -> pyvips.Image:
    """Converts an RGB image that still has the colours of its own profile; any other is returned as it is."""
    profile = image.get("icc-profile-data") if image.get_typeof("icc-profile-data") else b""
    if profile[16:20] != b"RGB " or is_srgb(profile):
        return image
    alpha = image.extract_band(3) if image.hasalpha() else None
    colours = image.extract_band(0, n=3).icc_transform("srgb", embedded=True)
    return colours if alpha is None else colours.bandjoin(alpha).copy(interpretation="srgb")
