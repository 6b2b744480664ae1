"""Formats that libvips' wheel does not read: each by a library of its own, where the installation has asked for it.

The same limits hold: the size is read from the header first, memory and CPU time are those of the process of the pool.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from errand.extras import needs
from errand.images.refusal import ImageRefused, damaged

Decoder = Callable[[float], pyvips.Image]
"""Takes a scale, and gives the image at about that scale; one that knows no scales gives it whole."""


PDF_PIXELS_PER_POINT = 150 / 72
"""A page is as large as printed at 150 dots an inch."""


MAX_ICON_PIXELS = 256 * 256
"""The directory of an icon has a byte for each side of a picture."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A file whose header has been read. The first picture, or page, of several is taken."""

    width: int
    height: int
    decoder: Decoder
    profile: bytes | None = None


def opened(path: Path, kind: str) -> Foreign:
    """Raises ImageRefused for what its library does not take, ExtraMissing if that is not installed."""
    try:
        found = OPENERS[kind](path)
        if min(found.width, found.height) < 1:
            raise ImageRefused(damaged(kind, "it announces no pixels"))
        return found
    except (ImportError, ImageRefused, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # each library has errors of its own
        raise ImageRefused(damaged(kind, _said(error))) from None


def decoded(foreign: Foreign, kind: str, scale: float) -> pyvips.Image:
    """Its pixels. Raises ImageRefused."""
    try:
        return foreign.decoder(scale)
    except (ImageRefused, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # the same
        raise ImageRefused(damaged(kind, _said(error))) from None


def _said(error: Exception) -> str:
    said = str(error).partition("\n")[0][:120]
    return "" if "/" in said else said


def _heic(path: Path) -> Foreign:
    with needs("heic"):
        import pi_heif
    image: Any = pi_heif.open_heif(path, convert_hdr_to_8bit=True)
    width, height = image.size

    def decode(scale: float) -> pyvips.Image:
        return _of_rows(bytes(image.data), width, height, bands=len(image.mode), stride=image.stride)

    return Foreign(width, height, decode, profile=image.info.get("icc_profile"))


def _by_pillow(name: str) -> Callable[[Path], Foreign]:
    def open_(path: Path) -> Foreign:
        with needs("bitmaps"):
            from PIL import Image
        # an icon has whole pictures inside, of any size, and Pillow decodes one to open it
        Image.MAX_IMAGE_PIXELS = MAX_ICON_PIXELS if name == "ICO" else None
        with warnings.catch_warnings(action="error"):
            image = Image.open(io.BytesIO(path.read_bytes()), formats=[name])
        width, height = image.size

        def decode(scale: float) -> pyvips.Image:
            pixels = image.convert("RGBA" if image.mode in ("RGBA", "LA", "PA", "P") else "RGB")
            return _of_rows(pixels.tobytes(), width, height, bands=len(pixels.mode), stride=width * len(pixels.mode))

        return Foreign(width, height, decode)

    return open_


def _pdf(path: Path) -> Foreign:
    with needs("pdf"):
        import pypdfium2
    page = pypdfium2.PdfDocument(path.read_bytes())[0]
    width, height = (math.ceil(side * PDF_PIXELS_PER_POINT) for side in page.get_size())

    def decode(scale: float) -> pyvips.Image:
        drawn = page.render(scale=PDF_PIXELS_PER_POINT * min(scale, 1), rev_byteorder=True, force_bitmap_format=RGBX)
        image = _of_rows(bytes(drawn.buffer), drawn.width, drawn.height, bands=4, stride=drawn.stride)
        return image.extract_band(0, n=3)

    return Foreign(width, height, decode)


RGBX = 3
"""pdfium's name for four bytes a pixel, the last of which means nothing (fpdfview.h, FPDFBitmap_BGRx)."""


def _svg(path: Path) -> Foreign:
    content = path.read_bytes()  # from memory: a path would let the drawing name files beside it
    # only here: whatever is no SVG stays blocked, and what an SVG draws was asked for
    pyvips.operation_block_set("VipsForeignLoadSvg", False)
    header = pyvips.Image.svgload_buffer(content)

    def decode(scale: float) -> pyvips.Image:
        return pyvips.Image.svgload_buffer(content, scale=min(scale, 1))

    return Foreign(header.width, header.height, decode)


def _of_rows(content: bytes, width: int, height: int, *, bands: int, stride: int) -> pyvips.Image:
    rows = pyvips.Image.new_from_memory(content, stride, height, 1, "uchar") if stride != width * bands else None
    packed = content if rows is None else rows.crop(0, 0, width * bands, height).write_to_memory()
    image = pyvips.Image.new_from_memory(packed, width, height, bands, "uchar")
    return image.copy(interpretation="srgb" if bands > 2 else "b-w")


OPENERS: dict[str, Callable[[Path], Foreign]] = {
    "heic": _heic,
    "bmp": _by_pillow("BMP"),
    "ico": _by_pillow("ICO"),
    "pdf": _pdf,
    "svg": _svg,
}
