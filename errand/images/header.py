"""Reads how large an image says it is from the start of its file, without libvips: the API has no more.

It need not know every file: what it cannot read is for the worker to refuse. It never reads past what it is given.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from errand.images.formats import Format, sniff

MARKER = 0xFF
"""The byte that a marker of a JPEG begins with (ITU T.81, B.1.1.2)."""


FRAMES_OF_JPEG = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers that begin a frame (ITU T.81, table B.1)."""


VP8X_BYTES = 30
"""Up to the end of the canvas' height."""


ImageShape = tuple[int, int]
"""Width and height in pixels, as they are stored: whether the image lies on its side is not looked at."""


def announced_size(start: bytes) -> ImageShape | None:
    """Width and height; None if they cannot be read there."""
    reader = READERS.get(sniff(start))
    try:
        return reader(start) if reader is not None else None
    except (struct.error, IndexError):
        return None


def _jpeg(start: bytes) -> ImageShape | None:
    at = 2
    while start[at] == MARKER:
        marker, length = struct.unpack_from(">BH", start, at + 1)
        if marker in FRAMES_OF_JPEG:
            height, width = struct.unpack_from(">HH", start, at + 5)
            return width, height
        # any number of fill bytes may stand before a marker (B.1.1.2)
        at += 1 if marker == MARKER else 2 + length
    return None


def _png(start: bytes) -> ImageShape:
    width, height = struct.unpack_from(">II", start, 16)
    return width, height


def _gif(start: bytes) -> ImageShape:
    width, height = struct.unpack_from("<HH", start, 6)
    return width, height


def _webp(start: bytes) -> ImageShape | None:
    """RFC 9649: one of three chunks comes first."""
    match start[12:16]:
        case b"VP8X" if len(start) >= VP8X_BYTES:
            return 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", start, 21)
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", start, 26)
            return width & 0x3FFF, height & 0x3FFF
    return None


def _avif(start: bytes) -> ImageShape | None:
    """ISO/IEC 23008-12, 6.5.3: each image in the file has an `ispe` box; the whole one's is the largest."""
    sizes = [struct.unpack_from(">II", start, at + 8) for at in _offsets(start, b"ispe")]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _offsets(start: bytes, name: bytes) -> Iterator[int]:
    at = start.find(name)
    while at >= 0:
        yield at
        at = start.find(name, at + 4)


def _tiff(start: bytes) -> ImageShape | None:
    """TIFF 6.0, section 2: the first directory, if it is near; tags 256 and 257, each a short or a long."""
    order = "<" if start[:2] == b"II" else ">"
    if start[2:4] not in (b"*\0", b"\0*"):
        return None
    (at,) = struct.unpack_from(f"{order}I", start, 4)
    (count,) = struct.unpack_from(f"{order}H", start, at)
    sides: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + count * 12, 12):
        tag, kind = struct.unpack_from(f"{order}HH", start, entry)
        if tag in (256, 257):
            (sides[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", start, entry + 8)
    return (sides[256], sides[257]) if len(sides) == 2 else None


READERS: dict[str, Callable[[bytes], ImageShape | None]] = {
    "jpeg": _jpeg,
    "png": _png,
    "gif": _gif,
    "webp": _webp,
    "avif": _avif,
    "tiff": _tiff,
}


def format_of(start: bytes) -> Format | None:
    """The format by the first bytes, if it is one that is read."""
    kind = sniff(start)
    return kind if kind in READERS else None  # type: ignore[return-value]  # the keys are the formats
