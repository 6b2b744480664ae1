"""Real images for tests, made on the spot."""

from __future__ import annotations

import pyvips


def image(width: int, height: int, *, form: str = "jpeg", alpha: bool = False, **options: object) -> bytes:
    """A gradient with some noise, encoded; `options` go to the encoder."""
    ramp = pyvips.Image.xyz(width, height)
    red, green = ramp.extract_band(0) * (255 / width), ramp.extract_band(1) * (255 / height)
    blue = pyvips.Image.gaussnoise(width, height, mean=128, sigma=20, seed=7)
    bands = [green, blue] + ([(red * 0 + 128)] if alpha else [])
    picture = red.bandjoin(bands).cast("uchar").copy(interpretation="srgb")
    encoded: bytes = picture.write_to_buffer(f".{form}", **options)
    return encoded


def size_of(encoded: bytes) -> tuple[int, int]:
    """Width and height in pixels."""
    picture = pyvips.Image.new_from_buffer(encoded, "")
    return picture.width, picture.height


def format_of(encoded: bytes) -> str:
    """The name of the libvips loader that takes it: `jpegload_buffer`, …"""
    return str(pyvips.Image.new_from_buffer(encoded, "").get("vips-loader"))
