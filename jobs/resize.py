"""Resizes an image to any number of sizes, in a process of its own."""

from __future__ import annotations

from pydantic import BaseModel

from errand import Context, Exponential, job
from errand.images.args import ImageArgs
from errand.images.steps import RESOURCES, Output, SourceInfo, fetched, rendered, stored


class Resize(ImageArgs):
    """An uploaded `file` or a `source_url`, and the sizes to make of it."""


class Resized(BaseModel):
    """What came out, in the order of the sizes asked for."""

    outputs: list[Output]
    source: SourceInfo


@job(
    queue="cpu",
    max_tries=7,
    timeout_s=300,
    # 20 minutes in all: a bad image fails at once, what is tried again is a source, a storage or a disk that is away
    retry=Exponential(base_s=2, factor=4, cap_s=600),
    uses=RESOURCES,
    examples=[
        {"sizes": [{"width": 320}, {"width": 64, "height": 64, "fit": "cover", "format": "webp"}]},
        {"sizes": [{"preset": "avatar"}, {"width": 800, "format": ["avif", "webp", "jpeg"]}]},
        {"source_url": "https://images.example/cat.jpg", "sizes": [{"width": 800, "format": "avif"}]},
    ],
)
async def resize(ctx: Context, args: Resize) -> Resized:
    """Makes smaller (or larger) copies of an image and stores them.

    Orientation is applied, and unless a size says otherwise metadata is removed and colours are converted to sRGB.
    What is no image, is cut short, or costs more than the settings allow fails at once.
    """
    async with fetched(ctx, args) as source:
        made = await rendered(ctx, source, args)
        return Resized(outputs=await stored(ctx, made), source=SourceInfo.of(made))
