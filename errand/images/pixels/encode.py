"""Writes one output in its format: how small, how thoroughly, and with which of the source's metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from errand.images.formats import Format
from errand.images.options import TRIES_FOR_BYTES, ImageOptions, Rendition
from errand.images.pixels.describe import hash_of
from errand.images.pixels.libvips import reason_of
from errand.images.pixels.source import Source
from errand.images.refusal import ImageRefused
from errand.images.size import Size

DEFAULT_QUALITY: dict[Format, int] = {"jpeg": 80, "webp": 79, "avif": 63}
"""imgproxy's."""


KEPT: dict[str, str] = {"strip": "none", "icc": "icc", "copyright": "exif", "all": "all"}
"""libvips' names for what an encoder takes along."""


COPYRIGHT = ("exif-ifd0-Copyright", "exif-ifd0-Artist")


@dataclass(frozen=True, slots=True)
class Rendered:
    """One output file."""

    path: Path
    width: int
    height: int
    format: Format
    sha256: str
    frames: int = 1
    quality: int | None = None

    def __str__(self) -> str:
        return f"{self.width} x {self.height} {self.format}"


def write(image: pyvips.Image, rendition: Rendition, source: Source, stem: Path, options: ImageOptions) -> Rendered:
    """Writes the output beside `stem`. Raises OSError; ImageRefused if it cannot be as small as asked for."""
    size, form, planned = rendition.size, rendition.format, rendition.planned
    width, height = planned.canvas_width, planned.canvas_height
    path = stem.with_name(f"{stem.name}-{width}x{height}.{form}")
    chosen = {**save_options(rendition, source, options), "keep": KEPT[size.metadata]}
    try:
        quality = _written(_with_metadata(image, size), path, chosen, size.max_bytes)
    except pyvips.Error as error:
        reason = reason_of(error) or "no room or no memory"
        raise OSError(f"an output could not be written as {form}: {reason}") from None
    return Rendered(path, width, height, form, sha256=hash_of(path)[0], frames=rendition.frames, quality=quality)


def animation(frames: Sequence[pyvips.Image], first: pyvips.Image) -> pyvips.Image:
    """The frames as libvips writes an animation: one below the other, with the times and the loops of the source."""
    joined = pyvips.Image.arrayjoin(list(frames), across=1).copy()
    joined.set_type(pyvips.GValue.gint_type, "page-height", frames[0].height)
    for name, kind in (("delay", pyvips.GValue.array_int_type), ("loop", pyvips.GValue.gint_type)):
        if first.get_typeof(name):
            joined.set_type(kind, name, first.get(name))
    return joined


def save_options(rendition: Rendition, source: Source, options: ImageOptions) -> dict[str, Any]:
    """What libvips' encoder of that format is asked for."""
    size, form = rendition.size, rendition.format
    lossy = {"Q": size.quality_of(form, DEFAULT_QUALITY[form])} if form in DEFAULT_QUALITY else {}
    graphics = source.palette and (size.lossless or "auto" in size.formats)
    match form:
        case "jpeg":
            return {"optimize_coding": True, "interlace": size.progressive, **lossy}
        case "png":
            effort = {"effort": min(10, 1 + (4 if size.effort is None else size.effort))}
            palette = source.palette and source.format == "png" if size.palette is None else size.palette
            return {"interlace": size.progressive, **({"palette": True, **effort} if palette else {})}
        case "webp":
            effort = {"effort": min(6, size.effort)} if size.effort is not None else {}
            return {"lossless": size.lossless or graphics, **effort, **lossy}
        case "avif":
            return {"compression": "av1", "effort": options.effort_of(size), "lossless": size.lossless, **lossy}
        case "gif":  # at 7, libvips' own effort, it takes six times as long and saves a tenth
            return {"effort": min(10, 1 + (3 if size.effort is None else size.effort)), "interlace": size.progressive}
        case "tiff":
            return {"compression": "deflate"}


def _written(image: pyvips.Image, path: Path, chosen: dict[str, Any], max_bytes: int | None) -> int | None:
    """Writes the file and returns the quality that it has, if it has one; the highest whose file is small enough."""
    if max_bytes is None or "Q" not in chosen or chosen.get("lossless"):
        image.write_to_file(f"{path}", **chosen)
        _check_bytes(path, max_bytes)
        return None if chosen.get("lossless") else chosen.get("Q")
    image = image.copy_memory()
    low, high, fits = 1, chosen["Q"], None
    tried = high
    for _ in range(TRIES_FOR_BYTES):
        image.write_to_file(f"{path}", **{**chosen, "Q": tried})
        if path.stat().st_size <= max_bytes:
            fits, low = tried, tried + 1
        else:
            high = tried - 1
        if low > high:
            break
        tried = (low + high) // 2
    if fits != tried:
        image.write_to_file(f"{path}", **{**chosen, "Q": fits or 1})
    _check_bytes(path, max_bytes)
    return fits or 1


def _check_bytes(path: Path, max_bytes: int | None) -> None:
    if max_bytes is not None and (size := path.stat().st_size) > max_bytes:
        raise ImageRefused(f"an output cannot be made of at most {max_bytes} bytes: it has {size}, make it smaller")


def _with_metadata(image: pyvips.Image, size: Size) -> pyvips.Image:
    """Of all that is known of the source only its copyright, if that is asked for."""
    if size.metadata != "copyright":
        return image
    image = image.copy()
    said = {name: image.get(name) for name in COPYRIGHT if image.get_typeof(name)}
    for name in image.get_fields():
        if name.startswith("exif") or name == "jpeg-thumbnail-data":
            image.remove(name)
    for name, text in said.items():
        image.set_type(pyvips.GValue.gstr_type, name, text)
    return image
