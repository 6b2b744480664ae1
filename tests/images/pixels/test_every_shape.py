"""Each orientation with each fit, gravity and format: exact sizes, and the pixels of the upright image."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import pyvips

from errand.images.edits import SHARES
from errand.images.formats import Format
from errand.images.options import ImageOptions
from errand.images.pixels.pipeline import Request, render
from errand.images.size import Fit, Size

BOXES = [(31, 17), (17, 31)]
SHOWN_EXACTLY = ("cover", "contain", "fill")

LEFT_OUT = {"gif": 6, "jpeg": 6, "avif": 6, "webp": 6}
"""By how many steps of 255 a value may be off on average: a table of 256 colours, half of the colours' detail."""

UNDONE: dict[int, list[str]] = {1: [], 2: ["fliphor"], 3: ["rot180"], 4: ["flipver"]} | {
    5: ["rot90", "fliphor"],
    6: ["rot270"],
    7: ["rot270", "fliphor"],
    8: ["rot90"],
}
"""How an upright picture is turned to be stored with that orientation (EXIF 2.32, tag 0x0112)."""


@cache
def upright() -> pyvips.Image:
    ramp = pyvips.Image.xyz(96, 64)
    bands = [ramp.extract_band(0) * 2.6, ramp.extract_band(1) * 3.9, (ramp.extract_band(0) + ramp.extract_band(1)) % 97]
    return bands[0].bandjoin(bands[1:]).cast("uchar").copy(interpretation="srgb").copy_memory()


def stored(orientation: int) -> bytes:
    """Without losses, with the tag."""
    picture = upright()
    for step in UNDONE[orientation]:
        picture = getattr(picture, step)()
    picture = picture.copy()
    picture.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return bytes(picture.write_to_buffer(".tiff"))


def outputs(folder: Path, content: bytes, sizes: list[Size]) -> list[pyvips.Image]:
    (folder / "source").write_bytes(content)
    made = render(folder / "source", folder, Request(sizes=sizes), ImageOptions()).outputs
    return [pyvips.Image.new_from_file(str(each.path)).copy_memory() for each in made]


def asked(form: Format | None = None) -> list[Size]:
    """All fits and gravities in both boxes."""
    return [
        Size(width=width, height=height, fit=fit, gravity=gravity, format=form or "png", quality=100)
        for width, height in BOXES
        for fit in get_args(Fit)
        for gravity in (SHARES if fit in ("cover", "contain") else ["center"])
    ]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_image_on_its_side_is_made_as_if_it_stood(tmp_path: Path, orientation: int) -> None:
    expected = outputs(tmp_path, stored(1), asked())
    turned = outputs(tmp_path, stored(orientation), asked())
    for size, one, other in zip(asked(), expected, turned, strict=True):
        assert (one.width, one.height) == (other.width, other.height), size
        assert size.fit not in SHOWN_EXACTLY or (one.width, one.height) == (size.width, size.height)
        # libvips shrinks rows before columns: turned by 90 degrees, a step may be rounded the other way
        assert (one.cast("short") - other.cast("short")).abs().max() <= 2, size


@pytest.mark.parametrize("form", get_args(Format))
def test_each_format_shows_the_same_picture(tmp_path: Path, form: Format) -> None:
    expected = outputs(tmp_path, stored(1), asked())
    encoded = outputs(tmp_path, stored(1), asked(form))
    for size, one, other in zip(asked(), expected, encoded, strict=True):
        assert (one.width, one.height) == (other.width, other.height)
        colours = other.extract_band(0, n=3)
        assert (one.cast("short") - colours.cast("short")).abs().avg() <= LEFT_OUT.get(form, 0), size


@pytest.mark.parametrize("profile", ["p3", "cmyk"])
def test_colours_are_those_of_the_conversion_by_the_profile(tmp_path: Path, profile: str) -> None:
    """libvips converts with LittleCMS: one step of 255 for the order of scaling and converting."""
    source = upright().icc_transform(profile, input_profile="srgb")
    expected = source.icc_transform("srgb", embedded=True)
    (shown,) = outputs(tmp_path, bytes(source.write_to_buffer(".tiff")), [Size(width=96, format="png")])
    assert (shown.cast("short") - expected.cast("short")).abs().max() <= 1
