"""What a page shows of an image before it is loaded, and what it says of it: colour, BlurHash, hash."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from errand.images.formats import Format
from errand.images.pixels.source import Source

VIEW_PIXELS = 32
"""Both sides of what is looked at: BlurHash has no detail that this lacks."""


COMPONENTS = (4, 3)


DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"


Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The source of a resize."""

    width: int
    height: int
    format: Format
    frames: int
    bytes: int
    sha256: str
    dominant_colour: str
    blurhash: str


def hash_of(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file, in hexadecimal, and its size in bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, path.stat().st_size


def described(source: Source, base: pyvips.Image, *, sha256: str, size_bytes: int) -> Described:
    """The source, as its file and its pixels show it."""
    pixels = _pixels(base)
    return Described(
        width=source.width,
        height=source.height,
        format=source.format,
        frames=source.frames,
        bytes=size_bytes,
        sha256=sha256,
        dominant_colour=dominant_colour(pixels),
        blurhash=blurhash(pixels, VIEW_PIXELS, VIEW_PIXELS),
    )


def _pixels(base: pyvips.Image) -> list[Any]:
    view = base.thumbnail_image(VIEW_PIXELS, height=VIEW_PIXELS, size="force")
    view = view.flatten(background=[255, 255, 255]) if view.hasalpha() else view
    content = view.write_to_memory()
    return [tuple(content[at : at + 3]) for at in range(0, len(content), 3)]


def dominant_colour(pixels: list[tuple[int, int, int]]) -> str:
    """The mean of the largest group of like colours: `#rrggbb`."""
    groups: dict[tuple[int, ...], list[tuple[int, int, int]]] = defaultdict(list)
    for pixel in pixels:
        groups[tuple(value >> 5 for value in pixel)].append(pixel)
    largest = max(groups.values(), key=len)
    return "#" + "".join(f"{round(sum(band) / len(largest)):02x}" for band in zip(*largest, strict=True))


def blurhash(pixels: list[tuple[int, int, int]], width: int, height: int) -> str:
    """As https://blurha.sh describes it: a few cosines of the image, in about thirty characters."""
    linear = [tuple(_linear(value) for value in pixel) for pixel in pixels]
    factors = [
        _factor(linear, width, height, across, down) for down in range(COMPONENTS[1]) for across in range(COMPONENTS[0])
    ]
    first, rest = factors[0], factors[1:]
    largest = max(abs(value) for factor in rest for value in factor)
    scale = max(0, min(82, math.floor(largest * 166 - 0.5)))
    return (
        _digits(COMPONENTS[0] - 1 + (COMPONENTS[1] - 1) * 9, 1)
        + _digits(scale, 1)
        + _digits(sum(_byte(value) << shift for value, shift in zip(first, (16, 8, 0), strict=True)), 4)
        + "".join(_digits(_packed(factor, (scale + 1) / 166), 2) for factor in rest)
    )


def _factor(linear: list[Any], width: int, height: int, across: int, down: int) -> Rgb:
    """How much of this cosine is in each band."""
    sums = [0.0, 0.0, 0.0]
    columns = [math.cos(math.pi * across * x / width) for x in range(width)]
    for y in range(height):
        row = math.cos(math.pi * down * y / height)
        for x in range(width):
            weight = columns[x] * row
            pixel = linear[y * width + x]
            sums = [total + weight * value for total, value in zip(sums, pixel, strict=True)]
    norm = (1 if across == down == 0 else 2) / (width * height)
    return sums[0] * norm, sums[1] * norm, sums[2] * norm


def _packed(factor: Rgb, largest: float) -> int:
    levels = [
        max(0, min(18, math.floor(math.copysign(abs(value / largest) ** 0.5, value) * 9 + 9.5))) for value in factor
    ]
    return (levels[0] * 19 + levels[1]) * 19 + levels[2]


def _linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)


def _byte(value: float) -> int:
    share = max(0.0, min(1.0, value))
    curved = share * 12.92 if share <= 0.0031308 else 1.055 * share ** (1 / 2.4) - 0.055
    return int(curved * 255 + 0.5)


def _digits(value: int, length: int) -> str:
    return "".join(DIGITS[value // 83 ** (length - place - 1) % 83] for place in range(length))
