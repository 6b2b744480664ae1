"""What an installation lets images cost: from its settings, for the worker and for the check of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from errand.images.formats import AVIF_WEIGHT_OF_EFFORT, SIDE_LIMIT, WEIGHT, Format
from errand.images.refusal import ImageRefused
from errand.settings import Settings

if TYPE_CHECKING:
    from errand.images.plan import Plan

MEGA = 1_000_000


MEGAPIXELS_OF_CPU_LIMIT = 50
"""By so many, read or written at weight 1, the limit grows by itself: with 10 s, to four times what a slow core needs.
Above it the work is not what the header says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """Limits and defaults, as the settings name them."""

    source_megapixels: float = 250
    output_megapixels: float = 200
    memory_bytes: int = 1024**3
    cpu_s: float = 10
    avif_effort: int = 1

    @classmethod
    def of(cls, settings: Settings) -> ImageOptions:
        """Those of this installation."""
        return cls(
            source_megapixels=settings.image_source_megapixels,
            output_megapixels=settings.image_output_megapixels,
            memory_bytes=settings.cpu_memory_limit_bytes,
            cpu_s=settings.image_cpu_s,
            avif_effort=settings.avif_effort,
        )

    def check_source(self, width: int, height: int) -> None:
        """Before decoding: a file of a kilobyte can announce any number of pixels. Raises ImageRefused."""
        if width * height > self.source_megapixels * MEGA:
            limit = f"over the limit of {self.source_megapixels:g} megapixels"
            raise ImageRefused(f"the image has {width} x {height} pixels, {limit}")

    def check_outputs(self, plans: Sequence[Plan], formats: Sequence[Format]) -> None:
        """Raises ImageRefused if a side is too long for its format, or all outputs together cost too much."""
        for planned, form in zip(plans, formats, strict=True):
            if max(planned.canvas_width, planned.canvas_height) > SIDE_LIMIT.get(form, 10**9):
                size = f"{planned.canvas_width} x {planned.canvas_height}"
                raise ImageRefused(
                    f"an output of {size} pixels cannot be {form}, whose sides end at {SIDE_LIMIT[form]}"
                )
        cost = self.cost_megapixels(plans, formats)
        if cost > self.output_megapixels:
            sizes = ", ".join(f"{planned.canvas_width} x {planned.canvas_height}" for planned in plans[:3])
            raise ImageRefused(
                f"the outputs ({sizes}{', …' if plans[3:] else ''}) cost as much as {cost:.0f} megapixels of JPEG, "
                f"over the limit of {self.output_megapixels:g}: ask for fewer, smaller or cheaper ones"
            )

    def cost_megapixels(self, plans: Sequence[Plan], formats: Sequence[Format]) -> float:
        """What writing them costs, in megapixels of JPEG."""
        weighted = (planned.pixels * self._weight(form) for planned, form in zip(plans, formats, strict=True))
        return sum(weighted) / MEGA

    def cpu_limit_s(self, source_pixels: int, cost_megapixels: float) -> float:
        """The CPU time that an image may take: it grows with what is read and with what is written."""
        return self.cpu_s * (1 + (source_pixels / MEGA + cost_megapixels) / MEGAPIXELS_OF_CPU_LIMIT)

    def _weight(self, form: Format) -> float:
        return WEIGHT[form] * (AVIF_WEIGHT_OF_EFFORT[self.avif_effort] if form == "avif" else 1)


@asynccontextmanager
async def image_options(settings: Settings) -> AsyncIterator[ImageOptions]:
    """The resource of a worker: `@job(uses=[image_options])`."""
    yield ImageOptions.of(settings)
