"""Each orientation with each fit, gravity and format, beside what Pillow makes of it; colours beside LittleCMS."""

from __future__ import annotations

import io
import math
import struct
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import pyvips
from PIL import Image, ImageChops, ImageCms, ImageStat

from errand.images.edits import SHARES
from errand.images.formats import Format
from errand.images.options import ImageOptions
from errand.images.pixels.pipeline import Request, render
from errand.images.size import Fit, Size

WIDTH, HEIGHT = 96, 64
BOXES = [(31, 17), (17, 31)]
FORMATS: tuple[Format, ...] = get_args(Format)

LEAST_DB: dict[Format, float] = {"png": 45, "tiff": 45, "jpeg": 42, "avif": 42, "gif": 30, "webp": 26}
"""The least likeness (PSNR) at quality 100. A GIF has 256 colours, a WebP half of the colours' detail."""

LEAST_DB_CUT = 30
"""Of `cover`: where it cuts, half a pixel of 17 may be out of place."""

LEAST_DB_OF_A_PHOTO = {"jpeg": 48, "webp": 39}
"""From decoders that leave out what a smaller copy does not need; that of WebP has means of pixels."""

UNDONE: dict[int, list[str]] = {1: [], 2: ["fliphor"], 3: ["rot180"], 4: ["flipver"]} | {
    5: ["rot90", "fliphor"],
    6: ["rot270"],
    7: ["rot270", "fliphor"],
    8: ["rot90"],
}
"""How an upright picture is turned to be stored with that orientation (EXIF 2.32, tag 0x0112)."""


@cache
def upright() -> pyvips.Image:
    ramp = pyvips.Image.xyz(WIDTH, HEIGHT)
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


def outputs(folder: Path, content: bytes, sizes: list[Size]) -> list[Image.Image]:
    """As Pillow reads them."""
    (folder / "source").write_bytes(content)
    made = render(folder / "source", folder, Request(sizes=sizes), ImageOptions()).outputs
    return [opened(each.path) for each in made]


def opened(file: Path | io.BytesIO) -> Image.Image:
    with Image.open(file) as picture:
        return picture.convert("RGB")


def asked(box: tuple[int, int]) -> list[Size]:
    """All fits and gravities, each in all formats."""
    return [
        Size(width=box[0], height=box[1], fit=fit, gravity=gravity, format=list(FORMATS), quality=100)
        for fit in get_args(Fit)
        for gravity in (SHARES if fit in ("cover", "contain") else ["center"])
    ]


def by_pillow(size: Size) -> Image.Image:
    """From all pixels of the upright picture, by what each fit is said to mean."""
    whole = Image.frombytes("RGB", (WIDTH, HEIGHT), upright().write_to_memory())
    width, height, (across, down) = size.width or 0, size.height or 0, SHARES[size.gravity]
    scales = width / WIDTH, height / HEIGHT
    if size.fit == "fill":
        return whole.resize((width, height), Image.Resampling.LANCZOS)
    scale = max(scales) if size.fit in ("cover", "outside") else min(scales)
    if size.fit == "cover":
        left, top = (WIDTH - width / scale) * across, (HEIGHT - height / scale) * down
        box = (left, top, left + width / scale, top + height / scale)
        return whole.resize((width, height), Image.Resampling.LANCZOS, box=box)
    shown = whole.resize((round(WIDTH * scale), round(HEIGHT * scale)), Image.Resampling.LANCZOS)
    if size.fit == "contain":
        canvas = Image.new("RGB", (width, height), "white")
        canvas.paste(shown, (round((width - shown.width) * across), round((height - shown.height) * down)))
        return canvas
    return shown


def likeness_db(one: Image.Image, other: Image.Image) -> float:
    """The peak signal-to-noise ratio."""
    squares = sum(ImageStat.Stat(ImageChops.difference(one, other)).sum2)
    return 10 * math.log10(255**2 * 3 * one.width * one.height / squares) if squares else math.inf


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_fit_gravity_and_format_shows_what_pillow_makes(tmp_path: Path, orientation: int) -> None:
    sizes = asked(BOXES[orientation % len(BOXES)])
    made = outputs(tmp_path, stored(orientation), sizes)
    for number, size in enumerate(sizes):
        best = by_pillow(size)
        for form, shown in zip(FORMATS, made[number * len(FORMATS) :], strict=False):
            assert shown.size == best.size, (size, form)
            least_db = min(LEAST_DB[form], LEAST_DB_CUT) if size.fit == "cover" else LEAST_DB[form]
            assert likeness_db(shown, best) >= least_db, (size, form)


@pytest.mark.parametrize("form", ["jpeg", "webp"])
@pytest.mark.parametrize("width", [400, 230, 97, 40])
def test_a_photo_that_is_decoded_in_part_is_as_good(tmp_path: Path, form: str, width: int) -> None:
    photo = pyvips.Image.new_from_file("examples/photo.jpg").write_to_buffer(f".{form}", Q=95)
    (made,) = outputs(tmp_path, photo, [Size(width=width, format="png")])
    best = opened(io.BytesIO(photo)).resize(made.size, Image.Resampling.LANCZOS)
    assert likeness_db(made, best) >= LEAST_DB_OF_A_PHOTO[form]


def adobe_rgb() -> bytes:
    """A profile with the primaries of Adobe RGB (1998), adapted to D50, and its gamma (ICC.1:2001-04, section 6)."""

    def place(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65_536) for value in values))

    points = {
        b"wtpt": (0.9505, 1, 1.0891),
        b"rXYZ": (0.60974, 0.31111, 0.01947),
        b"gXYZ": (0.20528, 0.62567, 0.06087),
        b"bXYZ": (0.14919, 0.06322, 0.74457),
    }
    tags = {name: b"XYZ " + bytes(4) + place(*values) for name, values in points.items()}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"curv" + bytes(4) + struct.pack(">IH", 1, 563) + bytes(2))
    at = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(content), len(value))
        content += value
    head = struct.pack(">I4xI12s12x4s", at + len(content), 0x02400000, b"mntrRGB XYZ ", b"acsp")
    return head + bytes(28) + place(0.9642, 1, 0.8249) + bytes(48) + table + content


def profile_of(space: str) -> bytes:
    if space == "adobe_rgb":
        return adobe_rgb()
    return bytes(upright().icc_transform(space, input_profile="srgb").get("icc-profile-data"))


@pytest.mark.parametrize("space", ["p3", "adobe_rgb", "cmyk"])
def test_colours_are_those_of_littlecms(tmp_path: Path, space: str) -> None:
    picture = upright().icc_transform("cmyk", input_profile="srgb") if space == "cmyk" else upright().copy()
    picture.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile_of(space))
    (shown,) = outputs(tmp_path, bytes(picture.write_to_buffer(".tiff")), [Size(width=WIDTH, format="png")])
    stored = Image.frombytes("CMYK" if space == "cmyk" else "RGB", (WIDTH, HEIGHT), picture.write_to_memory())
    expected = ImageCms.profileToProfile(
        stored,
        ImageCms.ImageCmsProfile(io.BytesIO(profile_of(space))),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    assert expected is not None
    assert max(high for _, high in ImageStat.Stat(ImageChops.difference(shown, expected)).extrema) <= 1
