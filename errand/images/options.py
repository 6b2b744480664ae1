"""What an installation lets images cost: from its settings, for the worker and for the check of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from errand.extras import Extra, require
from errand.images.formats import AVIF_WEIGHT_OF_EFFORT, LIBRARIES, SIDE_LIMIT, WEIGHT, Format
from errand.images.plan import Plan
from errand.images.refusal import ImageRefused
from errand.images.size import Size

if TYPE_CHECKING:
    from errand.settings import Settings

MEGA = 1_000_000


TRIES_FOR_BYTES = 6
"""Qualities that are tried for an output that may have so many bytes only: each halves what is left of 1 to 100."""


LOSSLESS_WEBP = 4
"""How much more a lossless WebP costs than one with losses. Measured."""


MEGAPIXELS_OF_CPU_LIMIT = 50
"""By so many, read or written at weight 1, the limit grows by itself: with 10 s, to four times what a slow core needs.
Above it the work is not what the header says."""


FRAME_PIXELS = 4_096
"""What a frame of an animation costs however small it is, in pixels of a JPEG. Measured: 0.2 ms."""


EXTRAS: dict[str, Extra] = {"heic": "heic", "pdf": "pdf"}


PRESETS: dict[str, Size] = {
    "avatar": Size(width=256, height=256, fit="cover", gravity="attention", format="webp"),
    "thumbnail": Size(width=320, height=320, format="webp"),
    "og-image": Size(width=1200, height=630, fit="cover", gravity="attention", format="jpeg"),
}
"""Those that there are without a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """One output as it is decided on before a pixel is decoded."""

    size: Size
    format: Format
    planned: Plan
    frames: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """Limits and defaults, as the settings name them."""

    source_megapixels: float = 250
    output_megapixels: float = 200
    memory_bytes: int = 1024**3
    cpu_s: float = 10
    avif_effort: int = 1
    extra_formats: tuple[str, ...] = ()
    presets: Mapping[str, Size] = field(default_factory=lambda: PRESETS)

    @classmethod
    def of(cls, settings: Settings) -> ImageOptions:
        """Those of this installation. Raises ValueError for a preset that is no size."""
        return cls(
            source_megapixels=settings.image_source_megapixels,
            output_megapixels=settings.image_output_megapixels,
            memory_bytes=settings.cpu_memory_limit_bytes,
            cpu_s=settings.image_cpu_s,
            avif_effort=settings.avif_effort,
            extra_formats=settings.image_extra_formats,
            presets={**PRESETS, **{name: Size(**size) for name, size in settings.image_presets.items()}},
        )

    def check_source(self, width: int, height: int, frames: int = 1) -> None:
        """Before decoding: a file of a kilobyte can announce any number of pixels. Raises ImageRefused."""
        if _counted(width * height, frames) > self.source_megapixels * MEGA:
            limit = f"over the limit of {self.source_megapixels:g} megapixels"
            each = f" in each of {frames} frames, which count {FRAME_PIXELS} at least" if frames > 1 else ""
            raise ImageRefused(f"the image has {width} x {height} pixels{each}, {limit}")

    def check_outputs(self, renditions: Sequence[Rendition]) -> None:
        """Raises ImageRefused if a side is too long for its format, or all outputs together cost too much."""
        for rendition in renditions:
            _check_sides(rendition)
        cost = self.cost_megapixels(renditions)
        if cost > self.output_megapixels:
            plans = [rendition.planned for rendition in renditions[:3]]
            sizes = ", ".join(f"{planned.canvas_width} x {planned.canvas_height}" for planned in plans)
            raise ImageRefused(
                f"the outputs ({sizes}{', …' if renditions[3:] else ''}) cost as much as {cost:.0f} megapixels of "
                f"JPEG, over the limit of {self.output_megapixels:g}: ask for fewer, smaller or cheaper ones"
            )

    def cost_megapixels(self, renditions: Sequence[Rendition]) -> float:
        """What writing them costs, in megapixels of JPEG."""
        return sum(_counted(each.planned.pixels * self._weight(each), each.frames) for each in renditions) / MEGA

    def cpu_limit_s(self, source_pixels: int, cost_megapixels: float) -> float:
        """The CPU time that an image may take: it grows with what is read and with what is written."""
        return self.cpu_s * (1 + (source_pixels / MEGA + cost_megapixels) / MEGAPIXELS_OF_CPU_LIMIT)

    def effort_of(self, size: Size) -> int:
        """How thoroughly an AVIF of that size is compressed."""
        return self.avif_effort if size.effort is None else size.effort

    def _weight(self, rendition: Rendition) -> float:
        size, form = rendition.size, rendition.format
        tries = TRIES_FOR_BYTES if size.max_bytes else 1
        if form == "avif":
            return WEIGHT[form] * AVIF_WEIGHT_OF_EFFORT[self.effort_of(size)] * tries
        if form == "png" and size.palette:
            return WEIGHT["gif"]
        return WEIGHT[form] * (LOSSLESS_WEBP if form == "webp" and size.lossless else 1) * tries


def _counted(pixels: float, frames: int) -> float:
    return pixels if frames == 1 else frames * max(pixels, FRAME_PIXELS)


def _check_sides(rendition: Rendition) -> None:
    planned, form = rendition.planned, rendition.format
    if max(planned.canvas_width, planned.canvas_height) > SIDE_LIMIT.get(form, 10**9):
        size = f"{planned.canvas_width} x {planned.canvas_height}"
        raise ImageRefused(f"an output of {size} pixels cannot be {form}, whose sides end at {SIDE_LIMIT[form]}")


@asynccontextmanager
async def image_options(settings: Settings) -> AsyncIterator[ImageOptions]:
    """The resource of a worker: `@job(uses=[image_options])`. Raises ExtraMissing for a format without its library."""
    options = ImageOptions.of(settings)
    for name in options.extra_formats:
        if name in LIBRARIES:
            require(EXTRAS.get(name, "bitmaps"), LIBRARIES[name])
    yield options
