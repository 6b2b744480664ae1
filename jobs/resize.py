"""Resizes an image to any number of sizes, in a process of its own."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from errand.images.size import Format, Size
from errand.job.context import Context
from errand.job.control import Fail
from errand.job.job_type import job
from errand.job.retry_policy import Exponential
from errand.job.stored_file import StoredFile, path_of_file
from errand.resources.address_guard import CallerUrl
from errand.resources.openers import outbound, process_pool, storage

if TYPE_CHECKING:
    from errand.images.pipeline import Rendered

DOWNLOAD_LIMIT_BYTES = 64 * 1024 * 1024


DOWNLOAD_DEADLINE_S = 30


RENDER_LIMIT_S = 30
"""imgproxy gives a whole image 10 s; ours counts several outputs, AVIF among them, on a busy machine."""


class Resize(BaseModel):
    """An uploaded `file` or a `source_url`, and the sizes wanted of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: Annotated[list[Size], Field(min_length=1, max_length=20)]
    file: StoredFile | None = Field(default=None, description="the upload; filled in by the service")
    source_url: CallerUrl | None = Field(
        default=None, description="where to fetch the image from, instead of an upload"
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.file is None) == (self.source_url is None):
            raise ValueError("give either a file (multipart/form-data) or a source_url")
        return self


class Output(BaseModel):
    """One stored image."""

    width: int
    height: int
    format: Format
    bytes: int
    url: str


class Resized(BaseModel):
    """What came out, in the order of the sizes asked for."""

    outputs: list[Output]


@job(
    queue="cpu",
    max_tries=3,
    timeout_s=300,
    retry=Exponential(base_s=2, cap_s=60),
    uses=[outbound, process_pool, storage],
    examples=[
        {"sizes": [{"width": 320}, {"width": 64, "height": 64, "fit": "cover", "format": "webp"}]},
        {"source_url": "https://images.example/cat.jpg", "sizes": [{"width": 800, "format": "avif"}]},
    ],
)
async def resize(ctx: Context, args: Resize) -> Resized:
    """Makes smaller (or larger) copies of an image and stores them.

    Orientation is applied, metadata removed, colours converted to sRGB; of an animation the first frame is taken.
    What is no image, is cut short, or has over 50 megapixels fails at once.
    """
    with tempfile.TemporaryDirectory(prefix="errand-resize-") as folder:
        source = Path(folder, "source")
        await _fetch(ctx, args, source)
        await ctx.progress(0.2, "source fetched")
        rendered = await _render(ctx, source, Path(folder), args.sizes)
        await ctx.progress(0.8, "images made")
        outputs = await asyncio.gather(*(_store(ctx, image) for image in rendered))
    return Resized(outputs=outputs)


async def _fetch(ctx: Context, args: Resize, target: Path) -> None:
    from errand.resources.outbound import OutboundRefused
    from errand.resources.storage import FileMissing

    try:
        if args.file is not None:
            await ctx.use(storage).fetch(args.file.key, target)
        else:
            await ctx.use(outbound).download(
                str(args.source_url), target, limit_bytes=DOWNLOAD_LIMIT_BYTES, deadline_s=DOWNLOAD_DEADLINE_S
            )
    except FileMissing:
        raise Fail("the uploaded file is no longer stored") from None
    except OutboundRefused as error:
        raise Fail(f"source_url: {error}") from None


async def _render(ctx: Context, source: Path, target: Path, sizes: list[Size]) -> list[Rendered]:
    from errand.images.pipeline import ImageRefused, render

    try:
        images: list[Rendered] = await ctx.use(process_pool).run(RENDER_LIMIT_S, render, source, target, sizes)
    except ImageRefused as error:
        raise Fail(str(error)) from None
    return images


async def _store(ctx: Context, image: Rendered) -> Output:
    key = f"resize/{ctx.job_id}/{image.path.name}"
    size_bytes = await ctx.use(storage).save(key, image.path)
    return Output(width=image.width, height=image.height, format=image.format, bytes=size_bytes, url=path_of_file(key))
