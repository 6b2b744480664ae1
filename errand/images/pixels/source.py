"""The image that came in: what its header says, before a pixel of it is decoded."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyvips

from errand.images.formats import FORMATS, KEPT_AS, READABLE, Format, SourceFormat, sniff
from errand.images.pixels.foreign import Foreign, opened
from errand.images.pixels.png_texts import MAX_TEXT_BYTES, has_too_much_text
from errand.images.pixels.scans import lacks_scans
from errand.images.refusal import ImageRefused, damaged, not_an_image
from errand.images.size import Strictness

START_BYTES = 1024


FORMAT_OF_LOADER: dict[str, Format] = {
    "jpegload": "jpeg",
    "pngload": "png",
    "webpload": "webp",
    "heifload": "avif",
    "gifload": "gif",
    "tiffload": "tiff",
}


ANIMATED: tuple[Format, ...] = ("gif", "webp")
"""What can be read and written as an animation."""


ORIENTATIONS_ON_THEIR_SIDE = range(5, 9)
"""EXIF orientation values that swap width and height."""


JPEG_END = b"\xff\xd9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file whose header has been read. Sizes are those of the upright image, in pixels."""

    path: Path
    format: Format
    """What an output is that keeps the format."""
    kind: SourceFormat
    width: int
    height: int
    bytes_per_pixel: int
    interlaced: bool
    profile: bytes | None
    """The ICC profile that is embedded."""
    frames: int = 1
    foreign: Foreign | None = None
    """If it is read by another library than libvips."""
    palette: bool = False
    """True if it has at most 256 colours, in a table."""

    @property
    def has_rgb_profile(self) -> bool:
        """True if an output can keep it: one of CMYK colours means nothing to a PNG."""
        return self.profile is not None and self.profile[16:20] == b"RGB "


def read_source(path: Path, strictness: Strictness, extra: Collection[str] = ()) -> Source:
    """Reads the header. The file at that path becomes another one if every browser would forgive what it lacks.

    `extra`: formats that are read besides the usual ones. Raises ImageRefused if it is no image that can be read.
    """
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    if (kind := sniff(start).lower()) in extra:
        return _foreign(path, kind)
    if sniff(start) not in FORMATS:
        raise ImageRefused(not_an_image(start, extra))
    if sniff(start) == "png" and has_too_much_text(path):
        raise ImageRefused(f"the texts in the image have over {MAX_TEXT_BYTES >> 20} MiB")
    if strictness != "strict":
        _complete(path, start)
    try:
        header = pyvips.Image.new_from_file(str(path), access="sequential")
    except pyvips.Error:
        raise ImageRefused(not_an_image(start)) from None
    form = FORMAT_OF_LOADER.get(header.get("vips-loader"))
    if form is None or (form == "avif" and header.get("heif-compression") != "av1"):
        raise ImageRefused(f"not an image that can be read ({READABLE})")
    return _described(path, header, form)


def _described(path: Path, header: pyvips.Image, form: Format) -> Source:
    on_side = header.get_typeof("orientation") and header.get("orientation") in ORIENTATIONS_ON_THEIR_SIDE
    width, height = (header.height, header.width) if on_side else (header.width, header.height)
    return Source(
        path=path,
        format=form,
        kind=form,
        width=width,
        height=height,
        bytes_per_pixel=header.bands * BYTES_OF[header.format],
        interlaced=bool(header.get_typeof("interlaced")),
        profile=header.get("icc-profile-data") if header.get_typeof("icc-profile-data") else None,
        frames=header.get("n-pages") if form in ANIMATED and header.get_typeof("n-pages") else 1,
        palette=form == "gif" or bool(header.get_typeof("palette")),
    )


def _foreign(path: Path, kind: str) -> Source:
    found = opened(path, kind)
    return Source(
        path=path,
        format=KEPT_AS.get(kind, "png"),
        kind=cast(SourceFormat, kind),
        width=found.width,
        height=found.height,
        bytes_per_pixel=4,
        interlaced=False,
        profile=found.profile,
        foreign=found,
    )


BYTES_OF = {"uchar": 1, "char": 1, "ushort": 2, "short": 2, "uint": 4, "int": 4, "float": 4, "double": 8} | {
    "complex": 8,
    "dpcomplex": 16,
}


def _complete(path: Path, start: bytes) -> None:
    """Adds a JPEG's end marker if it lacks one: what is decoded shows if more is missing.

    An animated AVIF has a still image as well, but says so in its second place only; libvips looks at the first.
    """
    if start.startswith(b"\xff\xd8"):
        with path.open("rb") as file:
            file.seek(-2, 2)
            lacks_end = file.read() != JPEG_END
        if lacks_end and not lacks_scans(path):
            _patch(path, JPEG_END, at=path.stat().st_size)
    elif start[4:12] == b"ftypavis":
        _patch(path, b"avif", at=8)


def _patch(path: Path, content: bytes, *, at: int) -> None:
    """Changes a file in a copy of its own: it may be the stored one, seen from another folder."""
    copy = path.with_name(f"{path.name}-changed")
    shutil.copyfile(path, copy)
    with copy.open("r+b") as file:
        file.seek(at)
        file.write(content)
    copy.replace(path)


FOREIGN_BYTES = 12
"""A pixel of what another library decodes: in its own colours, in ours, and a copy."""


def memory_bytes(source: Source) -> int:
    """What a decoder holds of the image at once, about; a row or a few, if it can hand them on as it reads."""
    pixels = source.width * source.height
    if source.foreign is not None:
        return pixels * FOREIGN_BYTES
    if source.format == "jpeg":
        return pixels * 2 * source.bytes_per_pixel if source.interlaced else 0
    if source.format == "png" and not source.interlaced:
        return 0
    return pixels * {"webp": 6, "avif": 18, "gif": 12}.get(source.format, 2 * source.bytes_per_pixel)


def damage(source: Source, reason: str) -> ImageRefused:
    """The refusal of a source that cannot be decoded to its end."""
    return ImageRefused(damaged(source.kind, reason))
