"""What a page shows of an image before it is loaded, and what it says of it: colour, BlurHash, hash."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from pathlib import Path
from typing import Any

import pyvips

from errand.images.formats import SourceFormat
from errand.images.pixels.source import Source

VIEW_PIXELS = 16
"""Both sides of what is looked at: BlurHash has four waves across, no detail that this lacks."""


COMPONENTS = (4, 3)


DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"


Rgb = tuple[float, float, float]


def _linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else float(((share + 0.055) / 1.055) ** 2.4)


LINEAR = tuple(_linear(value) for value in range(256))


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The source of a resize."""

    width: int
    height: int
    format: SourceFormat
    frames: int
    bytes: int
    sha256: str
    dominant_colour: str
    blurhash: str


def hash_of(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file, in hexadecimal, and its size in bytes."""
    with path.open("rb") as file:
        # piece by piece: a process may not map a file of any size
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, path.stat().st_size


def described(source: Source, base: pyvips.Image, *, sha256: str, size_bytes: int) -> Described:
    """The source, as its file and its pixels show it."""
    pixels = _pixels(base)
    return Described(
        width=source.width,
        height=source.height,
        format=source.kind,
        frames=source.frames,
        bytes=size_bytes,
        sha256=sha256,
        dominant_colour=dominant_colour(pixels),
        blurhash=blurhash(pixels, VIEW_PIXELS, VIEW_PIXELS),
    )


def _pixels(base: pyvips.Image) -> list[Any]:
    flat = base.flatten(background=[255, 255, 255]) if base.hasalpha() else base
    # means of whole numbers of pixels are all that is asked for: by fractions of them it takes twice as long
    down, across = math.ceil(base.height / VIEW_PIXELS), math.ceil(base.width / VIEW_PIXELS)
    view = flat.shrinkv(down, ceil=True).shrinkh(across, ceil=True)
    if (view.width, view.height) != (VIEW_PIXELS, VIEW_PIXELS):
        view = view.thumbnail_image(VIEW_PIXELS, height=VIEW_PIXELS, size="force")
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
    bands = [_factors([LINEAR[pixel[band]] for pixel in pixels], width, height) for band in range(3)]
    factors: list[Rgb] = list(zip(*bands, strict=True))
    first, rest = factors[0], factors[1:]
    largest = max(abs(value) for factor in rest for value in factor)
    scale = max(0, min(82, math.floor(largest * 166 - 0.5)))
    return (
        _digits(COMPONENTS[0] - 1 + (COMPONENTS[1] - 1) * 9, 1)
        + _digits(scale, 1)
        + _digits(sum(_byte(value) << shift for value, shift in zip(first, (16, 8, 0), strict=True)), 4)
        + "".join(_digits(_packed(factor, (scale + 1) / 166), 2) for factor in rest)
    )


def _factors(band: list[float], width: int, height: int) -> list[float]:
    """How much of each cosine is in a band: first along the rows, then down what that has left of them."""
    rows = [band[start : start + width] for start in range(0, width * height, width)]
    left = [[sum(map(mul, row, wave)) for row in rows] for wave in _waves(width)[: COMPONENTS[0]]]
    return [
        sum(map(mul, column, wave)) * (2 if across or down else 1) / (width * height)
        for down, wave in enumerate(_waves(height)[: COMPONENTS[1]])
        for across, column in enumerate(left)
    ]


@lru_cache(maxsize=8)
def _waves(length: int) -> list[list[float]]:
    return [[math.cos(math.pi * number * at / length) for at in range(length)] for number in range(max(COMPONENTS))]


def _packed(factor: Rgb, largest: float) -> int:
    levels = [
        max(0, min(18, math.floor(math.copysign(abs(value / largest) ** 0.5, value) * 9 + 9.5))) for value in factor
    ]
    return (levels[0] * 19 + levels[1]) * 19 + levels[2]


def _byte(value: float) -> int:
    share = max(0.0, min(1.0, value))
    curved = share * 12.92 if share <= 0.0031308 else 1.055 * share ** (1 / 2.4) - 0.055
    return int(curved * 255 + 0.5)


def _digits(value: int, length: int) -> str:
    return "".join(DIGITS[value // 83 ** (length - digit - 1) % 83] for digit in range(length))
