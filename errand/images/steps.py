"""The three steps of a resize: fetch the source, render, store. Each names what the job must have in its `uses`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, HttpUrl

from errand.extras import needs
from errand.images.formats import Format
from errand.images.options import image_options
from errand.images.refusal import ImageRefused
from errand.images.size import Animation, Size, Strictness, UnknownPreset, with_presets
from errand.job.context import Context
from errand.job.control import Fail
from errand.job.stored_file import StoredFile, path_of_file
from errand.resources.openers import outbound, process_pool, storage

if TYPE_CHECKING:
    from errand.images.pixels.encode import Rendered
    from errand.images.pixels.pipeline import Result

DOWNLOAD_LIMIT_BYTES = 64 * 1024 * 1024
DOWNLOAD_DEADLINE_S = 30
RENDER_LIMIT_S = 240
"""On the clock, for a machine that is too busy: the limit that an image meets is the one of its CPU time."""


class Output(BaseModel):
    """One stored image."""

    width: int
    height: int
    format: Format
    bytes: int
    url: str
    frames: int = 1
    quality: int | None = None


class SourceInfo(BaseModel):
    """The image that came in. `blurhash` (https://blurha.sh) is what a page shows until an output is loaded."""

    model_config = ConfigDict(from_attributes=True)

    width: int
    height: int
    format: Format
    frames: int
    bytes: int
    sha256: str
    dominant_colour: str
    blurhash: str


async def fetch_source(ctx: Context, target: Path, *, upload: StoredFile | None, url: HttpUrl | None) -> None:
    """Writes the upload, or what is at the URL, to `target`. Uses `storage` and `outbound`. Raises Fail."""
    from errand.resources.outbound import OutboundRefused
    from errand.resources.storage import FileMissing

    try:
        if upload is not None:
            await ctx.use(storage).fetch(upload.key, target)
        else:
            await ctx.use(outbound).download(
                str(url), target, limit_bytes=DOWNLOAD_LIMIT_BYTES, deadline_s=DOWNLOAD_DEADLINE_S
            )
    except FileMissing:
        raise Fail("the uploaded file is no longer stored") from None
    except OutboundRefused as error:
        raise Fail(f"source_url: {error}") from None


async def render_sizes(
    ctx: Context,
    source: Path,
    folder: Path,
    sizes: Sequence[Size],
    *,
    strictness: Strictness = "normal",
    animation: Animation = "first",
) -> Result:
    """Makes the images in `folder`, in a process of the pool. Uses `process_pool`, `image_options` and `storage`.

    Raises Fail for a bad image, and for one that costs too much.
    """
    with needs("images"):
        from errand.images.pixels.pipeline import Request, render
    from errand.resources.process_pool import CpuTimeSpent

    pool, options = ctx.use(process_pool), ctx.use(image_options)
    try:
        sizes = with_presets(sizes, options.presets)
        marks = await _fetch_watermarks(ctx, folder, sizes)
        request = Request(sizes=sizes, strictness=strictness, animation=animation, watermarks=marks)
        return await pool.run(RENDER_LIMIT_S, render, source, folder, request, options)
    except (ImageRefused, UnknownPreset) as error:
        raise Fail(str(error)) from None
    except CpuTimeSpent:
        raise Fail("the image takes more CPU time than one of its size may: it is damaged, or made to") from None


async def _fetch_watermarks(ctx: Context, folder: Path, sizes: Sequence[Size]) -> dict[str, Path]:
    """The files of all watermarks that the sizes name, by key. Raises Fail if one is not stored."""
    from errand.resources.storage import FileMissing

    keys = {size.watermark.key for size in sizes if size.watermark is not None}
    paths = {key: folder / f"watermark-{number}" for number, key in enumerate(sorted(keys))}
    for key, path in paths.items():
        try:
            await ctx.use(storage).fetch(key, path)
        except FileMissing:
            raise Fail(f"no watermark is stored under {key}") from None
    return paths


async def store_outputs(ctx: Context, images: Sequence[Rendered]) -> list[Output]:
    """Stores the images under the job's id, in their order. Uses `storage`."""
    return list(await asyncio.gather(*(_store(ctx, image) for image in images)))


async def _store(ctx: Context, image: Rendered) -> Output:
    key = f"resize/{ctx.job_id}/{image.path.name}"
    size_bytes = await ctx.use(storage).save(key, image.path)
    return Output(
        width=image.width,
        height=image.height,
        format=image.format,
        bytes=size_bytes,
        url=path_of_file(key),
        frames=image.frames,
        quality=image.quality,
    )
