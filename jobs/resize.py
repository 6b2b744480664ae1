"""Resizes an image to any number of sizes, in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from errand import Context, Exponential, StoredFile, job
from errand.images import (
    Animation,
    Output,
    Size,
    SourceInfo,
    Strictness,
    fetch_source,
    image_options,
    render_sizes,
    store_outputs,
)
from errand.images.options import ImageOptions
from errand.images.request import check_cost, check_file
from errand.job.args_context import ArgsContext
from errand.resources.guard import CallerUrl
from errand.resources.openers import outbound, process_pool, storage


class Resize(BaseModel):
    """An uploaded `file` or a `source_url`, and the sizes to make of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: Annotated[list[Size], Field(min_length=1, max_length=20)]
    file: StoredFile | None = Field(default=None, description="the upload; filled in by the service")
    source_url: CallerUrl | None = Field(
        default=None, description="where to fetch the image from, instead of an upload"
    )

    strictness: Strictness = Field(
        default="normal",
        description="normal: refuse an image that lacks anything that can be seen; strict: refuse any fault of the "
        "file, a missing end marker too; lenient: take what can be decoded of it, as a browser does",
    )

    animation: Animation = Field(
        default="first",
        description="of a GIF or WebP with several frames: first, or keep them all in outputs that are gif or webp",
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.file is None) == (self.source_url is None):
            raise ValueError("give either a file (multipart/form-data) or a source_url")
        return self

    @field_validator("file")
    @classmethod
    def _is_an_image(cls, file: StoredFile | None, info: ValidationInfo) -> StoredFile | None:
        if file is not None and isinstance(info.context, ArgsContext) and info.context.file_start is not None:
            check_file(info.context.file_start, named=file.filename is not None)
        return file

    @model_validator(mode="after")
    def _costs_no_more_than_it_may(self, info: ValidationInfo) -> Self:
        if isinstance(info.context, ArgsContext):
            check_cost(self.sizes, info.context.file_start, ImageOptions.of(info.context.settings))
        return self


class Resized(BaseModel):
    """What came out, in the order of the sizes asked for."""

    outputs: list[Output]
    source: SourceInfo


@job(
    queue="cpu",
    max_tries=3,
    timeout_s=300,
    retry=Exponential(base_s=2, cap_s=60),
    uses=[outbound, process_pool, storage, image_options],
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
    with tempfile.TemporaryDirectory(prefix="errand-resize-") as folder:
        source = Path(folder, "source")
        await fetch_source(ctx, source, upload=args.file, url=args.source_url)
        await ctx.progress(0.2, "source fetched")
        made = await render_sizes(
            ctx, source, Path(folder), args.sizes, strictness=args.strictness, animation=args.animation
        )
        await ctx.progress(0.8, "images made")
        outputs = await store_outputs(ctx, made.outputs)
        return Resized(outputs=outputs, source=SourceInfo.model_validate(made.source))
